// Who is signed in, and their access tokens: MSAL.js and nothing else. A token is
// asked for at each call and kept nowhere but in MSAL's cache.

/* global msal */

let config, main;

/** Prepares MSAL and finishes a sign-in that comes back by redirect. */
export async function start(settings) {
  config = settings;
  main = await application(config.policies.signUpSignIn);
  const answer = await main.handleRedirectPromise();
  if (answer) main.setActiveAccount(answer.account);
  return account();
}

// One MSAL application has one authority's metadata, so each policy has its own.
async function application(policy) {
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
  const app = new msal.PublicClientApplication({ auth, cache: { cacheLocation: "localStorage" } });
  await app.initialize();
  return app;
}

const scopes = () => [config.scopes.read, config.scopes.write];

/** The account that is signed in, or null: {id, name}. */
export function account() {
  const found = main.getActiveAccount() ?? main.getAllAccounts()[0];
  if (!found) return null;
  main.setActiveAccount(found);
  return { id: found.localAccountId, name: found.name || found.username || "somebody" };
}

export const signIn = () => main.loginRedirect({ scopes: scopes() });

export async function signInByPopup() {
  const answer = await main.loginPopup({ scopes: scopes() });
  main.setActiveAccount(answer.account);
  return account();
}

export const signOut = () => main.logoutRedirect({ account: main.getActiveAccount() });

/**
 * An access token. Throws a SignInNeeded where only the person can help; with fresh,
 * never one from the cache.
 */
export async function token({ fresh = false } = {}) {
  try {
    const answer = await main.acquireTokenSilent({ scopes: scopes(), account: main.getActiveAccount(), forceRefresh: fresh });
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

/** Somebody could not be reached: no network, or a CORS that does not know this page. */
export class Unreachable extends Error {}

/** Has the person edit the profile, by its own policy, and returns the new token. */
export async function editProfile() {
  const app = await application(config.policies.editProfile);
  const answer = await app.loginPopup({ scopes: scopes() });
  return answer.accessToken;
}
