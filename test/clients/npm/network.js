// Plays DNS for the clients, as dial does in suite_test.go: plex.tv is plexsim, and the names of media servers,
// 127-0-0-1.HASH.plex.direct.test, are loopback. Every socket of Node's is connected here.
import net from 'node:net';

const plexTV = new URL(process.env.PLEXSIM);
const connect = net.Socket.prototype.connect;

net.Socket.prototype.connect = function (...args) {
  const options = Array.isArray(args[0]) ? args[0][0] : args[0];
  if (options?.host === 'plex.tv') {
    options.host = plexTV.hostname;
    options.port = Number(plexTV.port);
  } else if (options?.host?.endsWith('.plex.direct.test')) {
    options.host = '127.0.0.1';
  }
  return connect.apply(this, args);
};
