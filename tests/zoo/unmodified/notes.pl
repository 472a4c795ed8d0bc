# Keeps notes in memory: GET /WORD adds one and answers with all of them. PORT is the first argument.
use strict;
use warnings;
use IO::Socket::INET;

my $server = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $ARGV[0], Listen => 16, ReuseAddr => 1) or die "$@\n";
my @notes;
while (1) {
    my $client = $server->accept or next;
    my $line = <$client> // '';
    while (defined(my $header = <$client>)) { last if $header =~ /^\r?\n$/ }
    push @notes, $1 if $line =~ m{^GET /(\w+) };
    my $body = join(' ', @notes);
    print $client "HTTP/1.0 200 OK\r\nContent-Length: " . length($body) . "\r\n\r\n$body";
    close $client;
}
