'use strict';
// A demo's page in headless Chromium: carries out steps, reads texts, takes pictures. Prints what it saw as JSON.
//   node look.js '{"url": URL, "steps": [["wait", SELECTOR], ["click", SELECTOR], ["fill", SELECTOR, TEXT]],
//                  "read": {NAME: SELECTOR}, "picture": PATH without ".png" or null}'
// "wide": the page is wider than a telephone's window.

/* global document -- what evaluate() is given runs in the page */
const { chromium } = require('playwright-core');

const { url, steps, read, picture } = JSON.parse(process.argv[2]);
// Nothing waits this long unless it hangs.
const GUARD_MS = 120000;

async function main() {
  const browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--no-sandbox'] });
  const seen = { problems: [], read: {} };
  try {
    const page = await browser.newPage({ viewport: { width: 1180, height: 800 }, colorScheme: 'light' });
    page.setDefaultTimeout(GUARD_MS);
    page.on('pageerror', (error) => seen.problems.push(String(error)));
    page.on('console', (message) => { if (message.type() === 'error') seen.problems.push(message.text()); });
    page.on('request', (request) => {
      if (!request.url().startsWith(url) && !request.url().startsWith('data:')) seen.problems.push(`asked for ${request.url()}`);
    });
    await page.goto(url);
    for (const [what, selector, text] of steps) {
      if (what === 'wait') await page.waitForSelector(selector, { state: 'attached' });
      else if (what === 'click') await page.click(selector);
      else await page.fill(selector, text);
    }
    for (const [name, selector] of Object.entries(read)) seen.read[name] = await page.locator(selector).allTextContents();
    if (picture) await page.screenshot({ path: `${picture}.png`, fullPage: true });
    await page.setViewportSize({ width: 390, height: 844 });
    seen.wide = await page.evaluate(() => document.documentElement.scrollWidth > document.documentElement.clientWidth);
  } finally {
    await browser.close();
  }
  console.log(JSON.stringify(seen));
}

main();
