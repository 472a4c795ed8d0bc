'use strict';
// Takes pictures of the test track's page while it shows both laps. Prints a JSON list of {file, ms, last}.
//   node film-demo.js URL FOLDER

/* global document -- what evaluate() is given runs in the page */
const path = require('node:path');
const { chromium } = require('playwright-core');

const [url, folder] = process.argv.slice(2);
const LAPS = ['acceleration', 'cornering'];
const REACHABLE_MS = 60000;

async function open(page) {
  for (const end = Date.now() + REACHABLE_MS; ;) {
    try {
      return await page.goto(url);
    } catch (error) {
      if (Date.now() > end) throw error;
      await new Promise((resolve) => { setTimeout(resolve, 100); });
    }
  }
}

async function main() {
  const browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--no-sandbox'] });
  const frames = [];
  try {
    const page = await browser.newPage({ viewport: { width: 1180, height: 698 }, colorScheme: 'dark' });
    await open(page);
    await page.waitForSelector('body[data-replay="done cornering"]'); // the laps that the demo drives by itself
    for (const lap of LAPS) {
      await page.evaluate(() => { document.body.dataset.replay = ''; });
      await page.click(`[data-lap=${lap}]`);
      for (let last = false; !last;) {
        last = await page.evaluate((name) => document.body.dataset.replay === `done ${name}`, lap);
        const file = path.join(folder, `${String(frames.length).padStart(4, '0')}.png`);
        const ms = Date.now();
        await page.screenshot({ path: file });
        frames.push({ file, ms, last });
      }
    }
  } finally {
    await browser.close();
  }
  console.log(JSON.stringify(frames));
}

main();
