// Whose page this is, and their access tokens: MSAL.js and nothing else. A token is
// asked for at each call and kept nowhere but in MSAL's cache.
//
// That cache is the whole browser's, and several people may be signed in there. So
// each tab keeps its own person, in sessionStorage, and every token is asked for by
// their account; MSAL's active account, which all tabs share, is not used.

import { OtherUser, ownerOf, SignedOut, SignInNeeded, Unreachable } from "./person.js";

export * from "./person.js";

/** @typedef {import("@azure/msal-browser").AccountInfo} Account */
/** @typedef {import("@azure/msal-browser").AuthenticationResult} Result */
/** @typedef {import("@azure/msal-browser").PublicClientApplication} Application */

/**
 * config.json. The authority of Azure AD B2C ends with the policy that policies name as
 * signUpSignIn; External ID and Entra ID have no policies. localMetadata is the local
 * world's alone.
 * @typedef {{clientId: string, authority: string, localMetadata?: string, scopes: {read: string, write: string},
 *   api: string, policies?: {signUpSignIn?: string, editProfile?: string, passwordReset?: string}}} Config
 */

/**
 * Who a page belongs to: owner is as the API has it, account is MSAL's, and the end of
 * session ends what is done for them.
 * @typedef {{name: string, owner: string, account: Account, session: AbortController}} Person
 */

/** @type {Config} */
let config;
/** @type {Promise<Application>} */
let main; // MSAL for signing up or in, once it is ready
let outdated = true; // by what another tab has written

const signUpSignIn = () => config.policies?.signUpSignIn ?? "";

/** Where people sign in. */
export const host = () => new URL(config.localMetadata ?? config.authority).host;

/**
 * Prepares MSAL.
 * @param {Config} settings
 */
export async function start(settings) {
  config = settings;
  addEventListener("storage", ({ key }) => (outdated ||= isMSALs(key)));
  await msalNow();
}

/**
 * Whether a key of localStorage, null for all of them, is MSAL's.
 * @param {string | null} key
 */
export const isMSALs = (key) => key === null || key.startsWith("msal.");

// MSAL reads its cache when it is made, and hears of other tabs' writing by messages.
// Some come before what they tell of can be read; and an account that it has not got it
// strikes off the list, for all tabs. So it is made again before it is used again.
function msalNow() {
  if (outdated) {
    outdated = false;
    main = application(signUpSignIn());
    main.catch(() => (outdated = true));
  }
  return main;
}

/** Finishes a sign-in, a sign-out or a password's reset that comes back by redirect. */
export async function comeBack() {
  try {
    if (await passwordIsReset()) return await signIn();
    signedIn(await answered(kept(), (app) => app.handleRedirectPromise()));
  } finally {
    // A sign-out comes back with ?state=…
    if (location.search) history.replaceState(null, "", location.pathname + location.hash);
  }
}

/**
 * One MSAL application has one authority's metadata, so each policy has its own.
 * @param {string} policy
 * @param {"localStorage" | "sessionStorage" | "memoryStorage"} [cacheLocation]
 * @returns {Promise<Application>}
 */
async function application(policy, cacheLocation = "localStorage") {
  /** @param {string} url */
  const swap = (url) => (policy ? url.replace(signUpSignIn(), policy) : url);
  const authority = swap(config.authority);
  /** @type {import("@azure/msal-browser").BrowserAuthOptions} */
  const auth = {
    clientId: config.clientId,
    authority,
    knownAuthorities: [new URL(authority).host],
    redirectUri: `${location.origin}/redirect.html`,
    postLogoutRedirectUri: `${location.origin}/`,
  };
  if (config.localMetadata) {
    // The local sign-in speaks http, which MSAL refuses to ask for metadata.
    const url = swap(config.localMetadata);
    const before = localStorage.getItem(url);
    try {
      auth.authorityMetadata = await (await fetch(url, { signal: AbortSignal.timeout(before ? 2000 : 20_000) })).text();
      localStorage.setItem(url, auth.authorityMetadata);
    } catch (cause) {
      if (!before) throw new Unreachable("unreachable", host(), { cause });
      auth.authorityMetadata = before; // offline
    }
  }
  // localStorage: a tab opened later, or a reload without a network, is signed in.
  const app = new msal.PublicClientApplication({ auth, cache: { cacheLocation } });
  await app.initialize();
  return app;
}

const scopes = () => [config.scopes.read, config.scopes.write];

// ---- whose page it is ---------------------------------------------------------

/**
 * @param {Account} account
 * @returns {Person}
 */
const person = (account) => ({ name: account.name || account.username || "somebody", owner: owner(account), account, session: new AbortController() });

/** @param {Account} account */
function owner({ homeAccountId, localAccountId, idTokenClaims }) {
  return ownerOf({ tid: homeAccountId.split(".")[1], oid: localAccountId, ...idTokenClaims });
}

/** Everybody who is signed in in this browser. */
export async function people() {
  const all = (await msalNow()).getAllAccounts();
  const ours = signUpSignIn().toLowerCase();
  const own = all.filter((account) => {
    if (!account.idTokenClaims || !owner(account)) return false;
    const { tfp, acr } = account.idTokenClaims;
    const policy = [tfp, acr].find((name) => /^b2c_1/i.test(name ?? "")) ?? ours;
    return policy.toLowerCase() === ours; // another policy's tokens cannot be renewed with it
  });
  return [...new Map(own.map((account) => [owner(account), person(account)])).values()];
}

const tab = "person of this tab"; // null is nobody: in a new tab it is missing
/** @returns {{owner: string, name: string, session?: undefined} | null} */
const kept = () => JSON.parse(sessionStorage.getItem(tab) ?? "null");
/** @param {Person | null} who */
const keep = (who) => sessionStorage.setItem(tab, JSON.stringify(who && { owner: who.owner, name: who.name }));

/**
 * Whose page this is, or null. A new tab is taken by the one person who is signed in,
 * and by none of several.
 */
export async function current() {
  const all = await people();
  if (sessionStorage.getItem(tab) === null && all.length === 1) keep(all[0]);
  const found = all.find((who) => who.owner === kept()?.owner);
  if (kept() && !found) keep(null);
  return found ?? null;
}

/** Whether this tab has had a person before, who may still be signed in. */
export const expected = () => kept() !== null;

/**
 * Makes this a page of one of people().
 * @param {Person} who
 */
export function take(who) {
  keep(who);
  return current();
}

/**
 * MSAL's keys name the account.
 * @param {Account} account
 * @param {string[]} [keys]
 */
function cached({ homeAccountId }, keys = Object.keys(localStorage)) {
  return keys.some((key) => key.startsWith("msal.") && key.includes(homeAccountId.toLowerCase()));
}

/**
 * Whether the person is still signed in: another tab may have signed them out.
 * @param {Person} who
 */
export const present = (who) => cached(who.account);

/**
 * Ends what is under way for a person whose page this no longer is.
 * @param {Person} who
 */
export function leave(who) {
  keep(null);
  who.session.abort();
}

/**
 * Every account of theirs, of whichever policy.
 * @param {Person} who
 */
async function forget(who) {
  const app = await msalNow();
  for (const account of [who.account, ...app.getAllAccounts()]) {
    if (owner(account) === who.owner) await app.clearCache({ account });
  }
}

// ---- signing in and out -------------------------------------------------------

// From a sign-out to the next sign-in: where the session at the sign-in could not be
// ended, nobody else gets in with it.
const asking = "ask who signs in";

async function request() {
  keep(null);
  const ask = (await people()).length > 0 || localStorage.getItem(asking) !== null;
  return { scopes: scopes(), prompt: ask ? "login" : undefined };
}

let came = { owner: "", why: "" };

/**
 * Whether the person has just come from a sign-in that signInAgain sent them to for this.
 * @param {Person} who
 * @param {string} why
 */
export const cameFor = (who, why) => who.owner === came.owner && came.why === why;

/** @param {Result | null} answer */
function signedIn(answer) {
  if (!answer) return;
  came = { owner: owner(answer.account), why: answer.state ?? "" };
  if (!owner(answer.account)) throw new Error("The sign-in's token has neither oid nor sub, and does not say who you are.");
  localStorage.removeItem(asking);
  keep(person(answer.account));
}

export async function signIn() {
  const asked = await request();
  return (await msalNow()).loginRedirect(asked);
}

export async function signInByPopup() {
  const asked = await request();
  // Another one that was left open, or in a tab that is gone, gives way.
  signedIn(await (await msalNow()).loginPopup({ ...asked, overrideInteractionInProgress: true }));
  outdated = true; // main may be another by now
  return current();
}

/**
 * Has the person of the page sign in once more; anybody else's sign-in is not taken.
 * With ask the sign-in does not let them pass unseen, and with consent it asks for
 * scopes once more; why is for cameFor.
 * @param {Person} who
 * @param {{ask?: boolean, consent?: boolean, why?: string}} [how]
 */
export async function signInAgain(who, { ask = false, consent = false, why } = {}) {
  const prompt = consent && !signUpSignIn() ? "consent" : ask || consent ? "login" : undefined; // B2C has no such prompt
  return (await msalNow()).loginRedirect({ scopes: scopes(), account: who.account, prompt, state: why });
}

// ---- a forgotten password -----------------------------------------------------

const resetting = "password is being reset";

const resetPolicy = () => config.policies?.passwordReset ?? "";

/** Whether B2C sends people who forgot their password here, to be sent to a policy. */
export const canReset = () => resetPolicy() !== "";

/** Leaves the page for the policy that resets a password. */
export async function resetPassword() {
  const app = await application(resetPolicy(), "sessionStorage");
  sessionStorage.setItem(resetting, "yes");
  return app.loginRedirect({ scopes: [] });
}

// The API takes no token of that policy, so nothing of it is kept.
async function passwordIsReset() {
  if (sessionStorage.getItem(resetting) === null) return false;
  sessionStorage.removeItem(resetting);
  const app = await application(resetPolicy(), "sessionStorage");
  const answer = await app.handleRedirectPromise();
  await app.clearCache();
  return answer !== null;
}

/**
 * Forgets the person in this browser.
 * @param {Person} who
 */
export async function signOut(who) {
  localStorage.setItem(asking, "yes");
  await forget(who);
}

/**
 * Ends the session at the policy that signed in, and leaves the page for it, unless the
 * sign-in cannot be reached.
 * @param {Person} who
 */
export async function endSession(who) {
  const url = config.localMetadata ?? `${config.authority}/v2.0/.well-known/openid-configuration`;
  const there = await fetch(url, { mode: "no-cors", cache: "no-store", signal: AbortSignal.timeout(3000) }).catch(() => null);
  if (there) await (await msalNow()).logoutRedirect({ account: who.account });
}

/**
 * Has MSAL ask for a token of the person. Somebody else may answer, such as a hidden
 * frame where another person's session is at the sign-in; that is not kept.
 * @template {Result | null} R
 * @param {{owner: string, name: string, session?: AbortController} | null} who
 * @param {(app: Application) => Promise<R>} ask
 */
async function answered(who, ask) {
  const before = Object.keys(localStorage);
  const answer = await ask(await msalNow());
  if (!answer || !who) return answer;
  const by = person(answer.account);
  const theirs = by.owner === who.owner;
  const left = who.session?.signal.aborted; // a sign-out, after which MSAL has put them back
  if (theirs && !left) return answer;
  if (theirs || !cached(by.account, before)) await forget(by);
  throw left ? new SignedOut() : new OtherUser(who, by.name);
}

/**
 * An access token of the person. Throws a SignInNeeded where only they can help; with
 * fresh, never one from the cache.
 * @param {Person} who
 * @param {{fresh?: boolean}} [how]
 */
export async function token(who, { fresh = false } = {}) {
  if (!present(who)) throw new SignedOut();
  try {
    const request = { scopes: scopes(), account: who.account, forceRefresh: fresh };
    const answer = await inTime(answered(who, (app) => app.acquireTokenSilent(request)));
    return answer.accessToken;
  } catch (/** @type {any} */ error) {
    if (error instanceof msal.InteractionRequiredAuthError) throw new SignInNeeded(error.message);
    if (unreachable.includes(error.errorCode)) {
      throw new Unreachable(navigator.onLine ? "unreachable" : "offline", host(), { cause: error });
    }
    throw error;
  }
}

const patience = 20_000; // ms

/**
 * MSAL itself waits for ever.
 * @template T
 * @param {Promise<T>} answer
 * @returns {Promise<T>}
 */
async function inTime(answer) {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  const late = new Promise((_, reject) => (timer = setTimeout(reject, patience, new Unreachable("unreachable", host()))));
  try {
    return await Promise.race([answer, /** @type {Promise<never>} */ (late)]);
  } finally {
    clearTimeout(timer);
  }
}

const unreachable = ["no_network_connectivity", "post_request_failed", "get_request_failed", "network_error", "endpoints_resolution_error"];

/** Whether there is a policy to edit the profile with. */
export const canEditProfile = () => Boolean(config.policies?.editProfile);

/**
 * Has the person edit the profile, by its own policy, and returns the new token.
 * @param {Person} who
 */
export async function editProfile(who) {
  // In memory: its account and tokens are for this once.
  const app = await application(config.policies?.editProfile ?? "", "memoryStorage");
  const answer = await answered(who, () => app.loginPopup({ scopes: scopes(), overrideInteractionInProgress: true }));
  return answer.accessToken;
}
