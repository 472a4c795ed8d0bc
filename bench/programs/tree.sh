# Ten processes: this shell, two pipelines, a Python and a Node server. Arguments: their ports.
python3 -m http.server "$1" > /dev/null 2>&1 &
node -e "require('node:http').createServer((request, response) => response.end('node')).listen($2)" &
sleep 1000 | cat | cat &
(while :; do sleep 1; done) | cat | cat &
wait
