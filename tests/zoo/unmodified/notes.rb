# Keeps notes in memory: GET /WORD adds one and answers with all of them. PORT is the first argument. A thread for each connection.
require 'socket'

notes = []
lock = Mutex.new
server = TCPServer.new('127.0.0.1', Integer(ARGV[0]))
loop do
  Thread.new(server.accept) do |client|
    word = client.gets.to_s[%r{^GET /(\w+) }, 1]
    nil until ['', nil].include?(client.gets&.strip)
    body = lock.synchronize { notes.push(word) if word; notes.join(' ') }
    client.write("HTTP/1.0 200 OK\r\nContent-Length: #{body.bytesize}\r\n\r\n#{body}")
    client.close
  end
end
