'use strict';
// The chat and the dashboard in headless Chromium: five pages join and talk, see their VM and their room; the dashboard
// shows three clones. Prints what was seen as JSON; screenshots go to the folder in the second argument.
//   node browser.js URL FOLDER

/* global document, window -- what evaluate() is given runs in the page */
const path = require('node:path');
const { chromium } = require('playwright-core');

const [url, folder] = process.argv.slice(2);
const NAMES = ['Ada', 'Grace', 'Alan', 'Edsger', 'Barbara'];
// Nothing waits this long unless it hangs.
const GUARD_MS = 200000;
const EVIL = '<img src=x onerror="window.evil=1"><b>bold</b>';

async function main() {
  const browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--no-sandbox'] });
  const seen = { pages: [], problems: [] };
  const watch = (page) => {
    page.on('pageerror', (error) => seen.problems.push(String(error)));
    page.on('request', (request) => {
      if (!request.url().startsWith(url) && !request.url().startsWith('data:')) seen.problems.push(`asked for ${request.url()}`);
    });
    return page;
  };
  try {
    const pages = [];
    for (const [i, name] of NAMES.entries()) {
      const context = await browser.newContext({
        viewport: i === 1 ? { width: 390, height: 844 } : { width: 1000, height: 760 }, colorScheme: i % 2 ? 'dark' : 'light',
      });
      context.setDefaultTimeout(GUARD_MS);
      const page = watch(await context.newPage());
      await page.goto(url);
      await page.fill('#nick', name);
      await page.click('#joining button');
      await page.waitForSelector('#vm:not([hidden])');
      pages.push(page);
    }
    for (const [i, page] of pages.entries()) {
      await page.fill('#text', i === 0 ? EVIL : `${NAMES[i]} was here`);
      await page.press('#text', 'Enter');
      await page.waitForSelector('.msg.me .text');
    }
    const dashboard = watch(await browser.newPage({ viewport: { width: 1360, height: 900 }, colorScheme: 'dark' }));
    dashboard.setDefaultTimeout(GUARD_MS);
    await dashboard.goto(`${url}/_gridcentric`);
    await dashboard.waitForFunction(() => document.querySelectorAll('#rows tr').length === 3);
    await dashboard.waitForFunction(() => document.querySelectorAll('#tree g').length === 4);
    // Everyone has heard all that was said in the own room.
    const vms = [];
    for (const page of pages) vms.push(await page.textContent('#vmid'));
    for (const [i, page] of pages.entries()) {
      const room = vms.filter((vm) => vm === vms[i]).length;
      await page.waitForFunction((count) => document.querySelectorAll('.msg').length === count, room);
      seen.pages.push({
        vm: vms[i],
        ip: await page.textContent('#vmip'),
        here: await page.textContent('#count'),
        texts: await page.locator('.msg .text').allTextContents(),
        evil: await page.evaluate(() => window.evil ?? document.querySelectorAll('.text *, .by *').length),
        wide: await page.evaluate(() => document.documentElement.scrollWidth > document.documentElement.clientWidth),
      });
    }
    seen.dashboard = {
      users: await dashboard.textContent('#users'),
      clones: await dashboard.evaluate(() => [...document.querySelectorAll('#rows tr')].map((row) => ({
        vmid: row.querySelector('.vm').textContent, users: row.querySelectorAll('.dots i').length, took: row.children[3].textContent,
      }))),
      live: await dashboard.getAttribute('#live', 'class'),
    };
    await dashboard.waitForTimeout(2500); // for the picture only: the tree comes to rest, the chart has some points
    await dashboard.screenshot({ path: path.join(folder, 'dashboard.png') });
    await dashboard.emulateMedia({ colorScheme: 'light' });
    await dashboard.screenshot({ path: path.join(folder, 'dashboard-light.png') });
    await pages[1].screenshot({ path: path.join(folder, 'chat-phone.png') });
    await pages[2].screenshot({ path: path.join(folder, 'chat.png') });
  } finally {
    await browser.close();
  }
  console.log(JSON.stringify(seen));
}

main();
