'use strict';
// Answers each request with who it is: "VMID METHOD BODY". What a POST does, a line with its body, goes to the file that DONE names.
const fs = require('node:fs');
const http = require('node:http');
const gridcentric = require('gridcentric');

const done = process.env.DONE;

http.createServer(async (request, response) => {
  let body = '';
  for await (const chunk of request) body += chunk;
  if (request.method === 'POST') fs.appendFileSync(done, `${body}\n`);
  response.end(`${gridcentric.vmid()} ${request.method} ${body || request.url}`);
}).listen(Number(process.env.CHAT_PORT), () => require('gridcentric/autoscale').setup(8080, Number(process.env.CHAT_PORT)));
