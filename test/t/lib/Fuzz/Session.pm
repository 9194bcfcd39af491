# psql with a script, watched while it runs; and which of its errors no caller should ever see.
package Fuzz::Session;

use strict;
use warnings FATAL => 'all';

use JSON::PP;
use POSIX qw(WNOHANG);
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

our $hangs = 180; # seconds; nothing that is called here takes one, on a quiet machine

# What ends all sessions as soon as one of them says it.
my $alarming = qr/(?:ERROR|FATAL|PANIC):  (?:XX\w{3}|38000):|caught (?:XX\w{3}|38000):|server closed the connection|connection to server was lost/;

# Starts psql. lines: of the script (whole statements in each); sane: { number of a line => 1 } that may not fail; file: the path, without an ending, of what is
# written: .sql, .out (what \echo and \o send there) and .err; connstr.
sub start {
    my ($class, %option) = @_;
    my $self = bless { lines => [ '\set VERBOSITY verbose', @{ $option{lines} } ], file => $option{file}, sane => { map { $_ + 1 => 1 } keys %{ $option{sane} // {} } }, read => 0 }, $class;
    open my $script, '>', "$self->{file}.sql" or die;
    print $script map { "$_\n" } @{ $self->{lines} }, '\echo the end';
    close $script;
    $self->{pid} = fork // die;
    return $self if $self->{pid};
    @ENV{qw(PGAPPNAME PGOPTIONS)} = ('fuzz', "-c statement_timeout=${hangs}s -c lock_timeout=${hangs}s");
    open STDIN, '<', '/dev/null' or die;
    open STDOUT, '>', "$self->{file}.out" or die;
    open STDERR, '>', "$self->{file}.err" or die;
    exec 'psql', '-X', '-q', '-A', '-t', '-o', '/dev/null', '-d', $option{connstr}, '-f', "$self->{file}.sql" or POSIX::_exit(1);
}

# Waits for the sessions, or ends them all when one of them met a fault that is none of the caller's. Tells every fault once; answers how many there were.
sub finish {
    my ($class, @sessions) = @_;
    my @running = @sessions;
    while (@running) {
        sleep 0.05;
        my $stop = grep { $_->is_alarming } @sessions;
        @running = grep { waitpid($_->{pid}, WNOHANG) == 0 } @running;
        next if !$stop;
        sleep 0.5; # what others say about a crash, and the rest of the message
        $_->stop for @running;
        last;
    }
    my $faults = 0;
    $faults += $_->tell for @sessions;
    return $faults;
}

# Ends it where it is.
sub stop {
    my ($self) = @_;
    kill 'KILL', $self->{pid};
    waitpid($self->{pid}, 0);
    $self->{ended} = 1;
    return;
}

# Whether what has come since the last look is alarming.
sub is_alarming {
    my ($self) = @_;
    open my $file, '<', "$self->{file}.err" or return;
    seek $file, $self->{read}, 0;
    my $new = do { local $/; <$file> } // '';
    $self->{read} += rindex($new, "\n") + 1;
    return $new =~ $alarming;
}

# Says each fault once, ten at most; answers how many there are.
sub tell {
    my ($self) = @_;
    my %told;
    for my $error ($self->errors) {
        my $fault = $self->fault($error) // next;
        next if $told{"$fault $error->{message}"}++ || keys %told > 10;
        my @before = @{ $self->{lines} }[ 0 .. $error->{line} - 1 ];
        my ($role) = grep { /^(?:RE)?SET SESSION AUTH/ } reverse @before;
        diag("$fault, line $error->{line} of $self->{file}.sql: $error->{sqlstate} $error->{message}\n" . join('', map { $error->{$_} ? "  $_: $error->{$_}\n" : () } qw(detail hint context query location)) . ($role ? "$role\n" : '') . substr($before[-1], 0, 3000));
    }
    diag("$self->{file}.sql did not come to its end") if !$self->{ended} && slurp_file("$self->{file}.out") !~ /^the end$/m && !$told{'no end'}++;
    return scalar keys %told;
}

# The errors that psql (VERBOSITY verbose) and fuzz.caught reported: { line, sqlstate, message, detail, hint, location, context } of each.
sub errors {
    my ($self) = @_;
    my (@errors, $now, $field);
    for my $line (split /\n/, slurp_file("$self->{file}.err")) {
        if ($line =~ /^psql:[^:]*:(\d+): (?:ERROR|FATAL|PANIC):  (\w{5}): (.*)/) {
            push @errors, $now = { line => $1, sqlstate => $2, message => $3 };
            $field = 'message';
        } elsif ($line =~ /^psql:[^:]*:(\d+): WARNING:  \w{5}: caught (\w{5}): (.*)/) {
            push @errors, $now = { line => $1, sqlstate => $2, message => $3 };
            $field = 'message';
        } elsif ($line =~ /^psql:[^:]*:(\d+): (.*)/) {
            push @errors, $now = { line => $1, sqlstate => '00000', message => $2 };
            $field = 'message';
        } elsif (defined $now && $line =~ /^(DETAIL|HINT|CONTEXT|LOCATION|QUERY): +(.*)/) {
            $field = lc $1;
            $now->{$field} = $2;
        } elsif (defined $now) {
            $now->{$field} .= "\n$line";
        }
    }
    return @errors;
}

# Why an error is not one that a caller should ever see, or nothing.
sub fault {
    my ($self, $error) = @_;
    my ($state, $statement) = ($error->{sqlstate}, $self->{lines}[ $error->{line} - 1 ]);
    return 'a hang' if $error->{message} =~ /(?:statement|lock) timeout/ && $statement !~ /statement_timeout|lock_timeout/;
    return 'an internal error' if $state =~ /^XX/ || $state eq '38000';
    return 'a connection that was lost' if $error->{message} =~ /server closed the connection|connection to server was lost|terminating connection/;
    return 'a leak' if $error->{message} =~ /leak|you don't own a lock|was not closed/;
    return if $state =~ /^(?:25006|40|42501|53|55P03|57014)/;
    return 'sane arguments are refused' if $self->{sane}{ $error->{line} } && $state ne '00000';
    return if ($error->{context} // '') =~ /function fuzz\./; # raised by a user's code
    return 'a message from the depth' if $error->{message} =~ /null value in column|duplicate key value|violates (?:check|unique|foreign)|cache lookup|could not open relation|invalid memory alloc|concurrently|std::|basic_string|_M_|unexpected (?!end of quoted)|internal error/;
    return 'a statement of the engine that failed' if ($error->{query} // '') =~ /chronicle_data\./ || ($error->{context} // '') =~ /^SQL statement "[^"]*chronicle_data\./m;
    return 'a DETAIL that is not JSON' if $state =~ /^CH/ && !defined eval { decode_json($error->{detail} // '') };
    return;
}

1;
