// MSAL.js as index.html loads it.
export {};
declare global {
  const msal: typeof import("@azure/msal-browser");
}
