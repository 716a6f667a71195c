// Keeps the app's own files, so that it opens without a network. What comes from the
// network is newer and goes first, if it comes within two seconds. The API and the
// sign-in are none of its business.

const files = [
  "./", "app.js", "api.js", "auth.js", "content.js", "draft.js", "editor.js", "erase.js", "json.js", "known.js", "list.js", "page.js", "person.js",
  "refused.js", "state.js", "store.js", "signin.js", "sync.js", "token.js", "view.js", "watch.js", "style.css", "icon.svg", "manifest.webmanifest", "config.json", "node_modules/@azure/msal-browser/lib/msal-browser.min.js",
];
const name = "app";
const patience = 2000; // ms
let silentUntil = 0; // ms since 1970: a network that was silent for one file is not waited for by the next

self.oninstall = (event) => {
  self.skipWaiting();
  event.waitUntil(caches.open(name).then((cache) => cache.addAll(files)));
};

self.onactivate = (event) => event.waitUntil(self.clients.claim());

self.onfetch = (event) => {
  const url = new URL(event.request.url);
  if (event.request.method !== "GET" || url.origin !== location.origin || url.pathname.endsWith("/redirect.html")) return;
  const fresh = renew(url.pathname, event.request, event.resultingClientId || event.clientId);
  event.waitUntil(fresh.catch(() => {}));
  event.respondWith(answer(url.pathname, fresh));
};

// A page asks whether its files are still those that the server has.
self.onmessage = (event) => {
  if (event.data !== "look") return;
  const look = files.map((file) => renew(new URL(file, location.href).pathname, new Request(file, { cache: "no-cache" })).catch(() => {}));
  event.waitUntil(Promise.all(look));
};

async function answer(path, fresh) {
  const kept = await (await caches.open(name)).match(path);
  if (!kept) return fresh;
  const silence = new Promise((resolve) => setTimeout(resolve, Date.now() < silentUntil ? 0 : patience, "silence"));
  const first = await Promise.race([fresh.catch(() => kept), silence]);
  if (first !== "silence") return first;
  silentUntil = Date.now() + 10_000;
  return kept;
}

// Fetches a file and keeps it; the open pages, but for the one that asked, are told if
// it is another than before.
async function renew(path, request, asking) {
  const fresh = await fetch(request);
  silentUntil = 0;
  if (!fresh.ok) return fresh;
  const cache = await caches.open(name);
  const before = await cache.match(path);
  const compared = fresh.clone();
  await cache.put(path, fresh.clone());
  if (before && (await before.text()) !== (await compared.text())) {
    for (const page of await self.clients.matchAll()) if (page.id !== asking) page.postMessage("newer");
  }
  return fresh;
}
