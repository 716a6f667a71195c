// What the single-page app's modules ask of a browser, and a phone does not have.

import * as Crypto from "expo-crypto";

const phone = globalThis as any;
phone.crypto ??= {};
phone.crypto.randomUUID ??= Crypto.randomUUID;
phone.navigator.onLine ??= true; // nobody says; who does not answer is named
// A phone runs the app once, so that one queue is lock enough.
let last: Promise<unknown> = Promise.resolve();
const request = (_name: string, _options: object, work: () => Promise<unknown>) => {
  const turn = last.then(work);
  last = turn.catch(() => {});
  return turn;
};
phone.navigator.locks ??= { request };
