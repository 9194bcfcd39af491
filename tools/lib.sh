# shellcheck shell=bash
# All of tools/lib/: what the scripts in tools/ share. Source it; the caller sets -euo pipefail.
#
#   step [-h ADVICE] TITLE COMMAND…   run a command quietly, with a progress line
#   need_packages PACKAGE…            install what is missing
#   as_root, as_postgres COMMAND…     with rights, and without
#   ensure_built_and_installed        from a bare machine to an installed extension
#   cluster_start, cluster_psql …     the development server

_lib=$(dirname "${BASH_SOURCE[0]}")/lib
# shellcheck source=tools/lib/common.sh
. "$_lib/common.sh"
# shellcheck source=tools/lib/build.sh
. "$_lib/build.sh"
# shellcheck source=tools/lib/server.sh
. "$_lib/server.sh"
# shellcheck source=tools/lib/cluster.sh
. "$_lib/cluster.sh"
unset _lib
