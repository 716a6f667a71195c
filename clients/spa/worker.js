// Keeps the app's own files, so that it opens without a network. What comes from
// the network is newer and goes first; the API and the sign-in are none of its
// business.

const files = ["./", "app.js", "api.js", "auth.js", "content.js", "editor.js", "store.js", "sync.js", "token.js", "style.css", "config.json", "node_modules/@azure/msal-browser/lib/msal-browser.min.js"];
const name = "app";

self.oninstall = (event) => {
  self.skipWaiting();
  event.waitUntil(caches.open(name).then((cache) => cache.addAll(files)));
};

self.onactivate = (event) => event.waitUntil(self.clients.claim());

self.onfetch = (event) => {
  const url = new URL(event.request.url);
  if (event.request.method !== "GET" || url.origin !== location.origin || url.pathname.endsWith("/redirect.html")) return;
  event.respondWith(
    (async () => {
      const cache = await caches.open(name);
      try {
        const fresh = await fetch(event.request);
        if (fresh.ok) await cache.put(url.pathname, fresh.clone());
        return fresh;
      } catch (error) {
        const kept = await cache.match(url.pathname);
        if (kept) return kept;
        throw error;
      }
    })(),
  );
};
