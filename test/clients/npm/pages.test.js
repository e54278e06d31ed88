// The pages of plexsim in a browser: with the keyboard alone, for assistive technology, and on a narrow screen.
import assert from 'node:assert/strict';
import test from 'node:test';

import axe from 'axe-core';
import { chromium } from 'playwright-core';

import { ask, device, link, mint, plexsim } from './world.js';

const folder = process.env.SCREENSHOTS; // where to put pictures of the pages; none without it

let browser;

test.before(async () => {
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: ['--no-sandbox'] });
});
test.after(() => browser?.close());

async function inBrowser(t, context = {}) {
  const page = await browser.newPage(context);
  t.after(() => page.close());
  page.setDefaultTimeout(15_000);
  return page;
}

async function picture(page, name) {
  if (folder) {
    await page.screenshot({ path: `${folder}/${name}.png`, fullPage: true });
  }
}

// hasFocus waits until the element of this id or text has the focus: a browser focuses only when it paints.
const hasFocus = (page, what) => page.waitForFunction(
  what => [document.activeElement.id, document.activeElement.textContent].includes(what), what);

// submit enters a PIN with the keyboard alone, from the page as it opens.
async function submit(page, account, code) {
  await page.goto(`${plexsim}/link`);
  await hasFocus(page, 'pin');
  await page.keyboard.type(code);
  await page.keyboard.press('Shift+Tab');
  await hasFocus(page, 'account');
  await page.keyboard.type(account);
  await page.keyboard.press('Tab');
  await page.keyboard.press('Tab');
  await hasFocus(page, 'Link');
  await page.keyboard.press('Enter');
  await page.waitForSelector('.message');
}

test('a PIN is entered with the keyboard alone', async t => {
  const page = await inBrowser(t);
  const pin = await mint('keyboard');
  await submit(page, 'bob', pin.code.toLowerCase());
  assert.match(await page.textContent('[role=status]'), /Accepted\. keyboard <b> \(Kometa\) is now linked to bob/);
  const { authToken } = await ask('GET', `/api/v2/pins/${pin.id}`, device('keyboard'));
  const user = await ask('GET', '/api/v2/user', { ...device('keyboard'), 'X-Plex-Token': authToken });
  assert.equal(user.username, 'bob');
  await page.keyboard.press('Tab');
  await hasFocus(page, 'Link another device');
});

test('a PIN in the URL needs one key', async t => {
  const page = await inBrowser(t);
  const pin = await mint('filled-in');
  await page.goto(`${plexsim}/link/?pin=${pin.code}`);
  await hasFocus(page, 'Link');
  await page.keyboard.press('Enter');
  await page.waitForSelector('[role=status]');
});

test('a wrong PIN is explained beside the field', async t => {
  const page = await inBrowser(t);
  await submit(page, 'alice', '0000');
  const input = page.getByLabel('PIN', { exact: true });
  assert.equal(await input.getAttribute('aria-invalid'), 'true');
  assert.equal(await input.getAttribute('aria-describedby'), await page.getAttribute('[role=alert]', 'id'));
  assert.equal(await input.inputValue(), '0000');
});

test('the status page tells everything but secrets', async t => {
  const page = await inBrowser(t);
  const token = await link('secret-identifier');
  const pin = await mint('another-identifier');
  await page.goto(plexsim);
  const rows = async name => page.getByRole('table', { name }).locator('tbody').innerText();
  assert.match(await rows('Accounts'), /alice\s+alice@example\.com/);
  assert.match(await rows('Authorized devices'), /secret-identifier <b>\s+Kometa\s+alice/);
  assert.match(await rows('Media servers'), /My Plex Server\s+alice\s.*http:\/\/127\.0\.0\.1:\d+\nhttps:\/\/127\.0\.0\.1:\d+\s+running/);
  assert.match(await rows(/newest \d+ of \d+ requests/), /plex\.tv\s+POST \/pins\s+201/);
  const source = await page.content();
  for (const secret of [token, String(pin.id), 'another-identifier"']) {
    assert.ok(!source.includes(secret), 'a secret is on the page');
  }
  assert.ok(source.includes(`${token.slice(0, 4)}…`));
  await page.keyboard.press('Tab');
  await hasFocus(page, 'Link a device');
  await page.getByRole('link', { name: pin.code }).focus();
  await page.keyboard.press('Enter');
  await page.waitForURL(/\/link\?pin=/);
});

for (const colorScheme of ['light', 'dark']) {
  for (const width of [1280, 320]) {
    test(`labels, contrast and width: ${colorScheme}, ${width} pixels`, async t => {
      const page = await inBrowser(t, { colorScheme, viewport: { width, height: 700 } });
      await mint('x'.repeat(60));
      const pin = await mint('a11y');
      for (const [name, open] of Object.entries({
        'link': () => page.goto(`${plexsim}/link`),
        'link-refused': () => submit(page, 'alice', '0000'),
        'link-accepted': () => submit(page, 'alice', pin.code),
        'status': () => page.goto(plexsim),
      })) {
        await open();
        await page.evaluate(axe.source);
        const { violations, passes } = await page.evaluate(() => globalThis.axe.run());
        assert.deepEqual(violations.map(v => `${v.id}: ${v.nodes.map(n => n.failureSummary).join()}`), [], name);
        assert.ok(passes.some(p => p.id === 'color-contrast'), 'contrast was measured');
        const needed = await page.evaluate(() => document.documentElement.scrollWidth);
        assert.ok(needed <= width, `${name} needs ${needed} of ${width} pixels`);
        await picture(page, `${name}-${colorScheme}-${width}`);
      }
    });
  }
}
