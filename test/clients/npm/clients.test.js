import assert from 'node:assert/strict';
import test from 'node:test';

import { MyPlexAccount } from '@ctrl/plex';
import PlexAPI from 'plex-api';
import { PlexOauth } from 'plex-oauth';

import { claim, link, ownedServer } from './world.js';

// What @ctrl/plex gets wrong itself, at this version:
// - It takes the hardware address of the machine for the client identifier, the same for every app that uses it.
// - It tries http next to every https address, whatever httpsRequired says, with the token.
// - Owners of a shared server's local addresses are left out: with only such addresses it has none to try.
test('@ctrl/plex', async t => {
  const login = await MyPlexAccount.getWebLogin();
  assert.ok(login.code.length > 4, 'a strong PIN');
  await claim(login.code);
  const account = await MyPlexAccount.webLoginCheck(login, 10);
  assert.equal(account.username, 'alice');

  const resources = await account.resources();
  const names = resources.map(r => r.name);
  assert.deepEqual(names.slice(0, 2), ['My Plex Server', "Bob's"]);
  const linked = resources.find(r => r.product === 'PlexAPI');
  assert.equal(linked.provides, 'controller', 'an app that sends X-Plex-Provides is listed');
  const devices = await account.devices();
  assert.ok(devices.some(d => d.name === 'My Plex Server' && d.connections[0].startsWith('http://127.0.0.1:')));
  assert.ok(devices.some(d => d.token === account.token && d.createdAt.getFullYear() < 2000),
    'it takes the seconds of devices.xml for milliseconds');

  for (const ssl of [false, true]) {
    await t.test(ssl ? 'https' : 'http', async () => {
      const server = await resources[0].connect(ssl);
      assert.match(server.baseurl, ssl ? /^https:\/\/127-0-0-1\./ : /^http:\/\/127\.0\.0\.1:/);
      assert.equal(server.friendlyName, 'My Plex Server');
      const library = await server.library();
      const sections = await library.sections();
      assert.deepEqual(sections.map(s => s.title), ['Movies', 'TV Shows']);
    });
  }
  await assert.rejects(resources[1].connect(), "a shared server's local addresses are left out");
  await assert.rejects(new MyPlexAccount(null, '', '', 'wrong').connect(), /401/);
});

// plex-oauth has a PIN login only. What it gets wrong itself: it sends "" as a JSON body.
test('plex-oauth', async () => {
  const client = new PlexOauth({ clientIdentifier: 'plex-oauth', product: 'plex-oauth', device: 'test', version: '1', urlencode: true });
  const [url, id] = await client.requestHostedLoginURL();
  assert.equal(await client.checkForAuthToken(id, 1000, 0), null, 'pending');
  await claim(new URLSearchParams(new URL(url).hash.slice(2)).get('code'));
  const token = await client.checkForAuthToken(id, 1000, 0);
  assert.ok(token, 'a token');
  await new MyPlexAccount(null, '', '', token).connect();
});

// plex-api calls media servers only; its logins are packages of their own, for passwords and for the PINs of before
// /api/v2. What it gets wrong itself: an answer is JSON for it only without a charset.
test('plex-api', async t => {
  const token = await link('plex-api');
  for (const https of [false, true]) {
    const to = { hostname: ownedServer.hostname, port: Number(ownedServer.port), https };
    await t.test(https ? 'https' : 'http', async () => {
      const client = new PlexAPI({ ...to, token });
      assert.equal((await client.query('/')).MediaContainer.friendlyName, 'My Plex Server');
      assert.ok((await client.query('/identity')).MediaContainer.claimed);
      assert.deepEqual((await client.find('/library/sections', { type: 'movie' })).map(d => d.title), ['Movies']);
      await assert.rejects(new PlexAPI({ ...to, token: 'wrong' }).query('/'), /denied request/);
    });
  }
});
