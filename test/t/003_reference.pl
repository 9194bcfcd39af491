# docs/reference and the catalog say the same, both ways: whatever a user can call, read, set or catch is described, and
# whatever is described exists. What README.md and the pages in docs show in SQL runs, or fails as they say.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use ChronicleTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $root = "$FindBin::RealBin/../..";
my $db = 'postgres';
my $node = new_node('reference');

my %page = map { m{([^/]+)\.md$} => slurp_file($_) } glob "$root/docs/reference/*.md";
my $all = join "\n", map { $page{$_} } sort keys %page;

sub rows { return split /\n/, $node->safe_psql($db, $_[0]) }

# A test: both lists hold the same names.
sub same_names {
    my ($documented, $real, $what) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my (%documented, %real);
    @documented{@$documented} = ();
    @real{@$real} = ();
    ok(%real > 0, "$what: there are some");
    is_deeply([ grep { !exists $documented{$_} } sort keys %real ], [], "$what: all are described");
    is_deeply([ grep { !exists $real{$_} } sort keys %documented ], [], "$what: all that are described exist");
    return;
}

# The text under a heading, up to the next one of its level or above.
sub section {
    my ($text, $heading) = @_;
    my ($level) = $heading =~ /^(#+)/;
    my $length = length $level;
    return $text =~ /^\Q$heading\E\n(.*?)(?=^#{1,$length} |\z)/ms ? $1 : '';
}

# First cells of a table's rows: what stands in backquotes there.
sub first_cells {
    my ($text) = @_;
    return map { /`([^`]+)`/g } $text =~ /^\| ([^|]*) \|/gm;
}

# --- functions: name(argument argument=default …) ---

my @functions = rows(<<'SQL');
SELECT p.proname || '(' || COALESCE((
           SELECT string_agg(p.proargnames[i]
                             || CASE WHEN i > p.pronargs - p.pronargdefaults THEN '=' || CASE
                                    WHEN pg_get_function_arg_default(p.oid, i::int) ~ '^NULL' THEN 'NULL'
                                    WHEN p.proargtypes[i - 1] = 'interval'::regtype
                                    THEN 'interval' ELSE split_part(pg_get_function_arg_default(p.oid, i::int), '::', 1) END
                                ELSE '' END, ' ' ORDER BY i)
             FROM generate_series(1, p.pronargs) AS i), '') || ')'
  FROM pg_proc AS p WHERE p.pronamespace = 'chronicle'::regnamespace
SQL

# The signature under "### name", in the same form. An interval may be written in more than one way.
sub signature {
    my ($name) = @_;
    my ($signature) = section($page{functions}, "### $name") =~ /^```\n(.*?)^```/ms or return "$name has no signature";
    my ($called, $arguments) = $signature =~ /^(\w+)\((.*?)\)\s*→/s or return "$name has a malformed signature";
    my @arguments = map {
        /^\s*(\w+) (\S+(?:\[\])?)(?: DEFAULT (.+?))?\s*$/s
          ? $1 . (defined $3 ? '=' . ($2 eq 'interval' && $3 ne 'NULL' ? 'interval' : $3) : '')
          : "malformed: $_"
    } split /,/, $arguments;
    return "$called(@arguments)";
}

my @described = $page{functions} =~ /^### (\w+)$/gm;
same_names([ map { signature($_) } @described ], \@functions, 'functions with their arguments');
my ($contents) = $page{functions} =~ /\A(.*?)^## /ms;
same_names([ map { /`(\w+)`/g } $contents =~ /^\| \[[^|]*\| (.*) \|$/gm ],
    \@described, 'functions in the table of contents');
is_deeply([ grep { section($page{functions}, "### $_") !~ /^```sql$/m } @described ], [], 'each function has an example');

# --- views and their columns ---

my @views = rows("SELECT relname FROM pg_class WHERE relnamespace = 'chronicle'::regnamespace AND relkind = 'v'");
same_names([ grep { $_ ne 'JSON' } $page{views} =~ /^## (\w+)$/gm ], \@views, 'views');
for my $view (sort @views) {
    my ($table) = section($page{views}, "## $view") =~ /^(\| column \|.*?)(?:^\n|\z)/ms;
    my @columns = rows("SELECT attname FROM pg_attribute WHERE attrelid = 'chronicle.$view'::regclass AND attnum > 0");
    same_names([ first_cells($table // '') ], \@columns, "columns of $view");
}

# --- settings ---

# 1 MiB as PostgreSQL and as the page write it.
my @settings = rows(<<'SQL');
SELECT name || ' ' || context || ' ' || CASE
           WHEN name = 'chronicle.worker_processes' THEN 'processors'
           WHEN unit = 'B' THEN replace(pg_size_pretty(boot_val::bigint), '1024 kB', '1 MB') ELSE boot_val END
  FROM pg_settings WHERE name LIKE 'chronicle.%'
SQL
my @rows = $page{settings} =~ /^\| (`chronicle\..*) \|$/gm;
same_names([ map { described_setting($_) } @rows ], \@settings, 'settings with context and default');

sub described_setting {
    my ($name, undef, $default, undef, $context) = split / ?\| /, $_[0];
    $default = 'processors' if $default =~ /processors/;
    $default =~ s/,//g;
    $default =~ s/MiB/MB/;
    return ($name =~ s/`//gr) . " $context $default";
}

my %real_setting = map { (split / /)[0] => 1 } @settings;
my %relation = map { $_ => 1 } rows("SELECT relname FROM pg_class WHERE relnamespace = 'chronicle'::regnamespace");
my %function = map { /^(\w+)/ => 1 } @functions;
is_deeply([ grep { !$real_setting{"chronicle.$_"} && !$relation{$_} && !$function{$_} } $all =~ /\bchronicle\.([a-z]\w*)/g ],
    [], 'every chronicle.<name> is a setting, a function, or a relation');

# --- SQLSTATEs ---

my @ours = map { join '', /'(.)'/g } slurp_file("$root/src/sqlstates.hpp") =~ /MAKE_SQLSTATE\((.*?)\)/g;
same_names([ grep { /^CH/ } first_cells($page{errors}) ], \@ours, 'SQLSTATEs of chronicle');
is_deeply([ grep { my $code = $_; !grep { $code eq $_ } @ours } $all =~ /\b(CH\d{3})\b/g ],
    [], 'no page names another of that class');
my %explained = map { $_ => 1 } first_cells($page{errors});
my @errors = map { /\b(CH\d{3}|[0-9][0-9A-Z]{4})\b(?=[ ;,:.]|$)/g } $page{functions} =~ /^Errors: (.*?)(?=\n\n)/gms;
is_deeply([ grep { !$explained{$_} } @errors ], [], "every SQLSTATE in functions.md is in errors.md");

# What `\df+` shows: a comment for everything, with the same SQLSTATEs.
my %comment = map { /^(\w+) (.*)/ } rows(<<'SQL');
SELECT proname || ' ' || replace(COALESCE(obj_description(oid, 'pg_proc'), ''), E'\n', ' ') FROM pg_proc WHERE pronamespace = 'chronicle'::regnamespace
SQL
is_deeply([ grep { !length $comment{$_} } sort keys %comment ], [], 'every function has a comment');
my @unsaid = map {
    my $name = $_;
    my ($errors) = section($page{functions}, "### $name") =~ /^Errors: (.*?)(?=\n\n)/ms;
    map { "$name $_" } grep { $comment{$name} !~ /\b$_\b/ } ($errors // '') =~ /\b(CH\d{3}|[0-9][0-9A-Z]{4})\b(?=[ ;,:.]|$)/g;
} @described;
is_deeply(\@unsaid, [], '… which names every SQLSTATE that the page names');
same_names([ rows("SELECT relname FROM pg_class WHERE relnamespace = 'chronicle'::regnamespace AND relkind = 'v' AND obj_description(oid, 'pg_class') <> ''") ],
    \@views, 'views with a comment');

# --- node types and their config ---

my @config = rows(<<'SQL');
SELECT DISTINCT type || ' ' || key FROM chronicle.node_types CROSS JOIN jsonb_object_keys(config_schema -> 'properties') AS key
SQL
my @node_types = rows('SELECT DISTINCT type FROM chronicle.node_types');
same_names([ $page{'workflow-definition'} =~ /^### ([a-z]+(?:\.[a-z]+)?)$/gm ], \@node_types, 'node types');
same_names(
    [   map {
            my $type = $_;
            map { "$type $_" } first_cells(section($page{'workflow-definition'}, "### $type"))
        } @node_types
    ],
    \@config,
    'config of the node types');

# --- definitions ---

my @definitions = grep { /"nodes"/ && /"edges"/ } $page{'workflow-definition'} =~ /^```json\n(\{"id".*?)^```/gms;
ok(@definitions > 0, 'a definition is shown');
is($node->safe_psql($db, "SELECT * FROM chronicle.validate_workflow(\$json\$$_\$json\$)"), '', 'the definition is one') for @definitions;

# --- links between the pages ---

# Path from the root => text: all pages that a reader finds from README.md.
my %text = map { s{^\Q$root\E/}{}r => slurp_file($_) } "$root/README.md", "$root/CONTRIBUTING.md", glob("$root/docs/*.md"), glob("$root/docs/reference/*.md"),
  glob("$root/src/*/README.md");

# A heading's anchor, as GitHub makes it.
my %anchor;
for my $path (keys %text) {
    $anchor{"$path#" . lc($_) =~ s/[^\w\- ]//gr =~ s/ /-/gr} = 1 for $text{$path} =~ /^#+ (.*)$/gm;
}
# What a page links to, as a path from the root.
sub targets {
    my ($path) = @_;
    my @targets = map { /^#/ ? "$path$_" : ($path =~ m{^(.*/)} ? $1 : '') . $_ } grep { !m{^https?:} } $text{$path} =~ /\]\(([^)\s]+)\)/g;
    for (@targets) { 1 while s{[^/]+/\.\./}{} }
    return @targets;
}
my @links = map { targets($_) } sort keys %text;
is_deeply([ grep { /#/ && /\.md/ ? !$anchor{$_} : !-e "$root/$_" } @links ], [], 'every link leads somewhere');
my %linked = map { s/#.*//r => 1 } @links;
is_deeply([ grep { $_ ne 'README.md' && !$linked{$_} } sort keys %text ], [], 'every page is linked to');

# --- what the pages show can be done ---

# A page's blocks of SQL, and of psql with its prompt (=>, chronicle=#), run in their order in a database of its own, by an
# operator unless this says another level, or that it takes a superuser. An error is one that the text announces:
#   -- CH001: …        in a comment: this block fails with it; "-- 55000 when …": it may
#   ERROR:  message    the first line of the output that follows the block
my %level = (retention => 'admin', functions => 'admin', settings => 'superuser', operations => 'superuser');
my %before = map { $_ => slurp_file("$root/test/data/reference.sql") } qw(functions views);
$node->safe_psql($db, 'CREATE ROLE newcomer LOGIN; CREATE ROLE shop; CREATE ROLE partner; GRANT shop TO newcomer');
new_database($node, 'empty');

# [place, SQL, pattern of each error that must come, … that may come]
sub blocks {
    my ($path) = @_;
    my @blocks;
    while ($text{$path} =~ /^```(\w*)\n(.*?)^```\n(?:(?=\n?```\n(ERROR: [^\n]*)))?/gms) {
        my ($language, $sql, $error) = ($1, $2, $3);
        my $place = "$path:" . (1 + (() = substr($text{$path}, 0, $-[0]) =~ /\n/g));
        if ($language eq '' && $sql =~ /\A\w*=[>#] (.*?;)$(?:\n(ERROR: [^\n]*))?/ms) {
            ($language, $sql, $error) = ('sql', $1, $2);
        }
        next if $language ne 'sql';
        my @must = map { qr/^$_: / } $sql =~ /-- (CH\d{3}|\d\w{4}):/g;
        push @must, qr/: \Q$1\E$/ if defined $error && $error =~ /ERROR:  (?:CH\d{3}: )?(.*)/;
        push @blocks, [ $place, $sql, \@must, [ map { qr/^$_: / } $sql =~ /-- (CH\d{3}|\d\w{4}) when/g ] ];
    }
    return @blocks;
}

for my $path (sort grep { !m{^src/} } keys %text) {
    my @blocks = blocks($path) or next;
    my ($page) = $path =~ m{([^/]+)\.md$};
    my $level = $level{$page} // 'operator';
    $node->safe_psql($db, "CREATE DATABASE mydb TEMPLATE empty OWNER newcomer; ALTER DATABASE mydb SET search_path = public, chronicle");
    $node->safe_psql('mydb', "SELECT chronicle.grant_access('newcomer', '$level')") if $level ne 'superuser';
    my $script = "\\set VERBOSITY verbose\n" . ($before{$page} // '') . join '', map { "\\warn \@$_->[0]\n$_->[1]\n" } @blocks;
    my ($status, $out, $errors) =
      $node->psql('mydb', $script, on_error_stop => 0, extra_params => $level eq 'superuser' ? [] : [ '-U', 'newcomer' ]);
    my ($first, @said) = split /^@/m, $errors;
    is($first, '', "$path: what it builds on is there") if $before{$page};
    is(scalar @said, scalar @blocks, "$path: each block ends where it seems to");
    for my $block (@blocks) {
        my ($place, undef, $must, $may) = @$block;
        my ($said) = grep { /^\Q$place\E\n/ } @said;
        my @failed = ($said // 'not run') =~ /ERROR:  (.*)/g;
        my @missing = grep { my $wanted = $_; !grep { /$wanted/ } @failed } @$must;
        my @unexpected = grep { my $message = $_; !grep { $message =~ $_ } @$must, @$may } @failed;
        ok(!@missing && !@unexpected, "$place runs as it says") or diag("missing: @missing; unexpected: @unexpected");
    }
    $node->safe_psql($db, 'DROP DATABASE mydb');
}

$node->stop;
done_testing();
