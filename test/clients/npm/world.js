// The world of suite_test.go, which starts plexsim and these tests.
export const plexsim = process.env.PLEXSIM;
export const ownedServer = new URL(process.env.OWNED_SERVER);

export async function ask(method, path, headers, body) {
  const response = await fetch(plexsim + path, { method, body, headers: { accept: 'application/json', ...headers } });
  if (!response.ok) {
    throw new Error(`${method} ${path}: ${response.status}`);
  }
  return response.status === 204 ? undefined : response.json();
}

export const device = id => ({ 'X-Plex-Client-Identifier': id, 'X-Plex-Product': 'Kometa', 'X-Plex-Device-Name': `${id} <b>` });

export const mint = id => ask('POST', '/api/v2/pins', device(id));

// enter enters a PIN at the link page as alice.
export async function enter(pin) {
  const response = await fetch(`${plexsim}/link`, { method: 'POST', body: new URLSearchParams({ account: 'alice', pin }) });
  if (!response.ok) {
    throw new Error(`the link page: ${response.status}`);
  }
}

// link links a device of alice's and returns its token.
export async function link(id) {
  const pin = await mint(id);
  await enter(pin.code);
  return (await ask('GET', `/api/v2/pins/${pin.id}`, device(id))).authToken;
}

// claim claims a strong PIN as the Auth App does.
export async function claim(code) {
  const headers = { ...device('sso'), 'X-Plex-Token': await link('sso'), 'X-Plex-Product': 'Plex SSO' };
  await ask('PUT', '/api/v2/pins/link', headers, new URLSearchParams({ code }));
}
