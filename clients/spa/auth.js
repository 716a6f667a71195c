// Whose page this is, and their access tokens: MSAL.js and nothing else. A token is
// asked for at each call and kept nowhere but in MSAL's cache.
//
// That cache is the whole browser's, and several people may be signed in there. So
// each tab keeps its own person, in sessionStorage, and every token is asked for by
// their account; MSAL's active account, which all tabs share, is not used.

/* global msal */

let config;
let main; // MSAL for signing up or in, once it is ready
let outdated = true; // by what another tab has written

/** Prepares MSAL. */
export async function start(settings) {
  config = settings;
  addEventListener("storage", ({ key }) => (outdated ||= isMSALs(key)));
  await msalNow();
}

/** Whether a key of localStorage, null for all of them, is MSAL's. */
export const isMSALs = (key) => key === null || key.startsWith("msal.");

// MSAL reads its cache when it is made, and hears of other tabs' writing by messages.
// Some come before what they tell of can be read; and an account that it has not got it
// strikes off the list, for all tabs. So it is made again before it is used again.
function msalNow() {
  if (outdated) {
    outdated = false;
    main = application(config.policies.signUpSignIn);
    main.catch(() => (outdated = true));
  }
  return main;
}

/** Finishes a sign-in or sign-out that comes back by redirect. */
export async function comeBack() {
  try {
    signedIn(await answered(kept(), (app) => app.handleRedirectPromise()));
  } finally {
    // A sign-out comes back with ?state=…
    if (location.search) history.replaceState(null, "", location.pathname + location.hash);
  }
}

// One MSAL application has one authority's metadata, so each policy has its own.
async function application(policy, cacheLocation = "localStorage") {
  const swap = (url) => url.replace(config.policies.signUpSignIn, policy);
  const authority = swap(config.authority);
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
    try {
      auth.authorityMetadata = await (await fetch(url)).text();
      localStorage.setItem(url, auth.authorityMetadata);
    } catch (error) {
      auth.authorityMetadata = localStorage.getItem(url); // offline
      if (!auth.authorityMetadata) throw error;
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
 * A person: name; owner, as the API has it; account, MSAL's; session, an
 * AbortController that ends what is done for them.
 */
const person = (account) => ({ name: account.name || account.username || "somebody", owner: owner(account), account });

/**
 * Whose token it is, "tenant/user" as the API sees its owners: the tenant's GUID in iss,
 * and oid, else sub. "" where it does not say.
 */
export function ownerOf({ iss, tid, oid, sub }) {
  const tenant = /^https?:\/\/[^/]+\/(?:tfp\/)?([0-9a-f-]{36})\//i.exec(iss)?.[1] ?? tid;
  const user = [oid, sub].map((id) => id?.trim()).find((id) => id && !/^not supported currently/i.test(id));
  return tenant && user ? `${tenant}/${user}`.toLowerCase() : "";
}

function owner({ homeAccountId, localAccountId, idTokenClaims }) {
  return ownerOf({ tid: homeAccountId.split(".")[1], oid: localAccountId, ...idTokenClaims });
}

/** Everybody who is signed in in this browser. */
export async function people() {
  const all = (await msalNow()).getAllAccounts();
  const ours = config.policies.signUpSignIn.toLowerCase();
  const own = all.filter((account) => {
    if (!account.idTokenClaims || !owner(account)) return false;
    const { tfp, acr } = account.idTokenClaims;
    const policy = [tfp, acr].find((name) => /^b2c_1/i.test(name)) ?? ours;
    return policy.toLowerCase() === ours; // another policy's tokens cannot be renewed with it
  });
  return [...new Map(own.map((account) => [owner(account), person(account)])).values()];
}

const tab = "person of this tab"; // null is nobody: in a new tab it is missing
const kept = () => JSON.parse(sessionStorage.getItem(tab));
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
  return found ? { ...found, session: new AbortController() } : null;
}

/** Makes this a page of one of people(). */
export function take(who) {
  keep(who);
  return current();
}

// MSAL's keys name the account.
function cached({ homeAccountId }, keys = Object.keys(localStorage)) {
  return keys.some((key) => key.startsWith("msal.") && key.includes(homeAccountId.toLowerCase()));
}

/** Whether the person is still signed in: another tab may have signed them out. */
export const present = (who) => cached(who.account);

/** Ends what is under way for a person whose page this no longer is. */
export function leave(who) {
  keep(null);
  who.session.abort();
}

// Every account of theirs, of whichever policy.
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

function signedIn(answer) {
  if (!answer) return;
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
  signedIn(await (await msalNow()).loginPopup(asked));
  outdated = true; // main may be another by now
  return current();
}

/** Has the person of the page sign in once more; anybody else's sign-in is not taken. */
export const signInAgain = async (who, { ask = false } = {}) =>
  (await msalNow()).loginRedirect({ scopes: scopes(), account: who.account, prompt: ask ? "login" : undefined });

/** Forgets the person in this browser. */
export async function signOut(who) {
  localStorage.setItem(asking, "yes");
  await forget(who);
}

/** Ends the session at the policy that signed in, and leaves the page for it. */
export const endSession = async (who) => (await msalNow()).logoutRedirect({ account: who.account });

// Has MSAL ask for a token of the person. Somebody else may answer, such as a hidden
// frame where another person's session is at the sign-in; that is not kept.
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
 */
export async function token(who, { fresh = false } = {}) {
  if (!present(who)) throw new SignedOut();
  try {
    const request = { scopes: scopes(), account: who.account, forceRefresh: fresh };
    const answer = await answered(who, (app) => app.acquireTokenSilent(request));
    return answer.accessToken;
  } catch (error) {
    if (error instanceof msal.InteractionRequiredAuthError) throw new SignInNeeded(error.message);
    if (unreachable.includes(error.errorCode)) throw new Unreachable("No answer from the sign-in.", { cause: error });
    throw error;
  }
}

const unreachable = ["no_network_connectivity", "post_request_failed", "get_request_failed", "network_error", "endpoints_resolution_error"];

/** Only the person can go on, by signing in. */
export class SignInNeeded extends Error {}

/** The person was signed out, by another tab for instance. */
export class SignedOut extends Error {}

/** Somebody else's token came where the person's was asked for. */
export class OtherUser extends Error {
  constructor(who, other = "somebody else") {
    super(`This page is for ${who.name}, and the sign-in answered for ${other}. Nothing was sent, and nothing is lost.`);
  }
}

/** Somebody could not be reached: no network, or a CORS that does not know this page. */
export class Unreachable extends Error {}

/** Has the person edit the profile, by its own policy, and returns the new token. */
export async function editProfile(who) {
  // In memory: its account and tokens are for this once.
  const app = await application(config.policies.editProfile, "memoryStorage");
  const answer = await answered(who, () => app.loginPopup({ scopes: scopes() }));
  return answer.accessToken;
}
