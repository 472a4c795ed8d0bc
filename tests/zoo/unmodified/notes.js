// Keeps notes in memory: GET /WORD adds one and answers with all of them. PORT is the first argument.
'use strict';
const notes = [];
const server = require('node:http').createServer((request, response) => {
  const word = request.url.slice(1);
  if (word) notes.push(word);
  response.end(notes.join(' '));
});
server.listen(Number(process.argv[2]), '127.0.0.1');
