# chronicle: PGXS build.  `make && make install && make installcheck` with PG_CONFIG=… for another server.
EXTENSION = chronicle
EXTVERSION := $(shell sed -n "s/^default_version = '\(.*\)'/\1/p" chronicle.control)

MODULE_big = chronicle
CORE_SOURCES := $(sort $(wildcard src/core/*.cpp))
SOURCES := $(sort $(filter-out src/core/% src/testing/%,$(wildcard src/*.cpp src/*/*.cpp src/*/*/*.cpp)))
OBJS = $(CORE_SOURCES:.cpp=.o) $(SOURCES:.cpp=.o)

# The install script is the numbered parts, one per capability, joined in order.
SQL_PARTS := $(sort $(wildcard sql/install/*.sql))
INSTALL_SQL = sql/chronicle--$(EXTVERSION).sql
DATA_built = $(INSTALL_SQL)
DATA = $(wildcard sql/updates/*.sql)
EXTRA_CLEAN = $(INSTALL_SQL) $(wildcard src/*.d src/*/*.d src/*/*/*.d) $(wildcard src/testing/*.o) chronicle_testing.so src/store/order.broken.o chronicle_broken.so

# Tests: pg_regress reads test/sql, isolationtester test/specs; the server must preload chronicle (tools/check starts one).
# Tests of the seam need the testing-only module, so they are a schedule of their own (make installcheck-testing).
TESTING_REGRESS := $(sort $(patsubst test/sql/%.sql,%,$(wildcard test/sql/seam_*.sql)))
REGRESS := $(filter-out $(TESTING_REGRESS),$(sort $(patsubst test/sql/%.sql,%,$(wildcard test/sql/*.sql))))
REGRESS_OPTS = --inputdir=test --outputdir=build/regress --load-extension=chronicle
ISOLATION := $(sort $(patsubst test/specs/%.spec,%,$(wildcard test/specs/*.spec)))
ISOLATION_OPTS = --inputdir=test --outputdir=build/isolation --load-extension=chronicle
REGRESS_PREP = build # pg_regress makes only the last folder of a path

PG_CXXFLAGS = -std=c++20 -O2 -Wall -Wextra -Wno-register -fvisibility=hidden -fvisibility-inlines-hidden \
	-fno-math-errno -MMD -MP -isystem $(shell $(PG_CONFIG) --includedir-server) -Isrc \
	-DCHRONICLE_VERSION='"$(EXTVERSION)"' $(if $(WERROR),-Werror)
SHLIB_LINK = -lpcre2-8 -lstdc++
PG_CONFIG ?= pg_config

# The JIT could inline only what is in bitcode; an entry point that catches C++ exceptions is never inlined, so build none.
override with_llvm = no

PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

# PGXS's warning flags are for C; ours stand alone, so that a C-only flag warns about nothing.
override CXXFLAGS := $(filter-out -Wmissing-prototypes -Wdeclaration-after-statement -Wold-style-definition,$(CXXFLAGS))

# src/core is compiled without PostgreSQL's include directories: it cannot see a server header.
$(CORE_SOURCES:.cpp=.o): src/core/%.o: src/core/%.cpp
	$(CXX) -std=c++20 -O2 -g -fPIC -Wall -Wextra -fvisibility=hidden -fvisibility-inlines-hidden -MMD -MP -Isrc $(VALIJSON:%=-isystem %) $(if $(WERROR),-Werror) -c -o $@ $<

$(INSTALL_SQL): $(SQL_PARTS) chronicle.control
	@echo "joining $(words $(SQL_PARTS)) SQL parts into $@"
	@{ printf '%s\n' '\echo Use "CREATE EXTENSION chronicle" to load this file. \quit'; \
	   for part in $(SQL_PARTS); do printf '\n-- %s\n' "$$part"; cat "$$part"; done; } > $@

# valijson (JSON Schema) is headers only. Debian's package of it depends on Qt and more, so where it is not installed its
# headers alone are taken out of it. VALIJSON=… names another place.
ifeq ($(wildcard /usr/include/valijson /usr/local/include/valijson),)
VALIJSON ?= build/include
endif
VALIJSON_HEADERS = $(VALIJSON:%=%/valijson/validator.hpp)
build/include/valijson/validator.hpp:
	tools/unpack libvalijson-dev usr/include/valijson build/include/valijson
src/core/schema.o: | $(VALIJSON_HEADERS)

# The version is compiled in: a library of another version than the schema refuses to work.
src/catalog/objects.o: chronicle.control Makefile

# The testing-only module: proves the seam in regress, never installed by default.
TESTING_SOURCES := $(wildcard src/testing/*.cpp)
# -Bsymbolic: its operator new, which a test lets fail, is its own and nobody else's.
TESTING_OBJS = $(TESTING_SOURCES:.cpp=.o) $(patsubst %.cpp,%.o,$(wildcard src/pg/*.cpp)) src/core/excerpt.o src/core/uuid.o
chronicle_testing.so: $(TESTING_OBJS)
	$(CXX) $(CXXFLAGS) -shared -Wl,-Bsymbolic -o $@ $(TESTING_OBJS) $(LDFLAGS) -lstdc++

# chronicle with a wrong horizon on purpose: a test sees that the torture program finds it. Never installed.
BROKEN_OBJS = $(filter-out src/store/order.o,$(OBJS)) src/store/order.broken.o
src/store/order.broken.o: src/store/order.cpp src/store/order.o
	$(CXX) $(CXXFLAGS) $(CPPFLAGS) $(CFLAGS_SL) -DCHRONICLE_BREAK_HORIZON=$(or $(BREAK_HORIZON),2) -c -o $@ $<
chronicle_broken.so: $(BROKEN_OBJS)
	$(CXX) $(CXXFLAGS) -shared -o $@ $(BROKEN_OBJS) $(LDFLAGS) $(SHLIB_LINK)

build:
	mkdir -p $@

.PHONY: testing install-testing installcheck-testing demo bench
testing: chronicle_testing.so
install-testing: testing
	$(INSTALL_SHLIB) chronicle_testing.so '$(DESTDIR)$(pkglibdir)/'
installcheck-testing: | build
	$(pg_regress_installcheck) --inputdir=test --outputdir=build/testing --load-extension=chronicle --dbname=contrib_regression $(TESTING_REGRESS)
demo:
	tools/demo
bench:
	bench/run

-include $(OBJS:.o=.d) $(TESTING_OBJS:.o=.d)
