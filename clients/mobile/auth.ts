// How people sign in: a code with PKCE (RFC 7636, RFC 8252) in the system's own browser, at
// Azure AD B2C, or at External ID or Entra ID, which have no policies. Access tokens are in
// memory alone, and no token is ever logged.

import * as Session from "expo-auth-session";
import { openAuthSessionAsync } from "expo-web-browser";
import { Platform } from "react-native";
import type { Config, Person as SPAPerson } from "../spa/auth.js";
import { decoded, OtherUser, ownerOf, SignedOut, SignInNeeded, Unreachable } from "../spa/person.js";
import settings from "./config.json";
import * as device from "./device";

export * from "../spa/person.js";
export type Person = Omit<SPAPerson, "account"> & { account: any }; // MSAL's, which is null here

export const config: Config = settings;
const { clientId } = config;
const scopes = ["openid", "profile", "offline_access", config.scopes.read, config.scopes.write];
const signUpSignIn = config.policies?.signUpSignIn ?? "";

/** An address that opens this app alone; on the web it is the page's own. */
const redirectUri = Platform.OS === "web" ? `${location.origin}/` : Session.makeRedirectUri({ path: "oauth2redirect" });

let person: Person | null = null;
let refreshToken: string | null = null; // the key store has it, too, if it fits there
let access: { token: string; until: number } | null = null; // until is in ms
let renewing: Promise<string> | null = null;
export let idToken = ""; // the last one, which is for this app and not for the API

export const host = () => new URL(config.localMetadata ?? config.authority).host; // where people sign in
export const canReset = () => Boolean(config.policies?.passwordReset);

export class Cancelled extends Error {} // by the person
/** What the sign-in answers; what it refuses is a TokenError. */
const answered = <T>(answer: Promise<T>): Promise<T> =>
  answer.catch((cause) => {
    throw cause instanceof Session.TokenError ? cause : new Unreachable("unreachable", host(), { cause });
  });
const known = new Map<string, Session.DiscoveryDocument>(); // by policy
async function endpoints(policy = signUpSignIn) {
  const issuer = config.localMetadata?.replace("/.well-known/openid-configuration", "") ?? `${config.authority}/v2.0`;
  const found = known.get(policy) ?? (await answered(Session.fetchDiscoveryAsync(issuer.replace(signUpSignIn, policy))));
  known.set(policy, found);
  return found;
}

/** Opens the sign-in, and returns the code that it ends with, and what proves that it is ours. */
async function browse(scopes: string[], policy?: string) {
  // People are always asked: a session that a sign-out could not end lets nobody in.
  const request = new Session.AuthRequest({ clientId, redirectUri, scopes, prompt: Session.Prompt.Login });
  const answer = await request.promptAsync(await endpoints(policy));
  if (answer.type === "error" && answer.error) throw answer.error;
  if (answer.type !== "success") throw new Cancelled();
  return { code: answer.params.code ?? "", verifier: request.codeVerifier ?? "" };
}

async function keep(tokens: Session.TokenResponse) {
  idToken = tokens.idToken ?? idToken;
  if (!tokens.refreshToken) return;
  refreshToken = tokens.refreshToken; // each may be good for once
  await device.put("refresh", refreshToken);
}

function admit({ accessToken, expiresIn = 0 }: Session.TokenResponse) {
  if (!accessToken) throw new SignInNeeded("The sign-in gave no access token: no scope of the API was granted.");
  access = { token: accessToken, until: Date.now() + (expiresIn - 60) * 1000 };
  return accessToken;
}

/** Tokens for these scopes, by the refresh token. */
export async function tokensFor(who: Person, scopes: string[]) {
  if (person !== who) throw new SignedOut();
  refreshToken ??= await device.get("refresh");
  if (!refreshToken) throw new SignInNeeded("What keeps you signed in is not on this phone any more.");
  const tokens = await answered(Session.refreshAsync({ clientId, refreshToken, scopes }, await endpoints())).catch((error) => {
    throw error instanceof Session.TokenError ? new SignInNeeded(error.description) : error;
  });
  if (person !== who) throw new SignedOut();
  await keep(tokens);
  return tokens;
}

/** An access token of the person; with fresh, never the one in memory. */
export async function token(who: Person, { fresh = false } = {}) {
  if (person !== who) throw new SignedOut();
  if (access && !fresh && access.until > Date.now()) return access.token;
  return (renewing ??= tokensFor(who, scopes).then(admit).finally(() => (renewing = null)));
}

/** Whose app it is since it was last open, or null. */
export async function restore() {
  await device.start();
  const found = await device.get("person");
  return (person = found && { ...JSON.parse(found), account: null, session: new AbortController() });
}

/** Signs somebody in, or the same person again. */
export async function signIn(again: Person | null = null): Promise<Person> {
  const { code, verifier } = await browse(scopes);
  const request = { clientId, code, redirectUri, scopes, extraParams: { code_verifier: verifier } };
  const tokens = await answered(Session.exchangeCodeAsync(request, await endpoints()));
  // It came by TLS (OpenID Connect Core, 3.1.3.7), so that its signature need not be checked.
  const { name = "somebody", ...claims } = decoded(tokens.idToken ?? "");
  const owner = ownerOf(claims);
  if (!owner) throw new Error("The sign-in's token has neither oid nor sub, and does not say who you are.");
  if (again && owner !== again.owner) throw new OtherUser(again, name);
  admit(tokens);
  person = again ?? { name, owner, account: null, session: new AbortController() };
  await keep(tokens);
  await device.put("person", JSON.stringify({ name, owner }));
  return person;
}

/** Opens the policy that resets a password. The API takes no token of that policy, so that none is asked for. */
export const resetPassword = () => browse(["openid"], config.policies?.passwordReset);

/** Forgets the person, and ends their session at the policy that signed them in, if it can be reached. */
export async function signOut() {
  [person, refreshToken, access, renewing, idToken] = [null, null, null, null, ""];
  await device.clear();
  const found = await endpoints().catch(() => null);
  const back = new URLSearchParams({ post_logout_redirect_uri: redirectUri, state: crypto.randomUUID() });
  if (found?.endSessionEndpoint) await openAuthSessionAsync(`${found.endSessionEndpoint}?${back}`, redirectUri);
}
