// Whose a token is, and what can keep a person from getting one: what every way to sign
// in has in common. auth.js is the single-page app's way, and the mobile app has its own.

/** @typedef {{iss?: string, tid?: string, oid?: string, sub?: string}} Claims */

/**
 * Whose token it is, "tenant/user" as the API sees its owners: the tenant's GUID in iss,
 * and oid, else sub. "" where it does not say.
 * @param {Claims} claims
 */
export function ownerOf({ iss, tid, oid, sub }) {
  const tenant = /^https?:\/\/[^/]+\/(?:tfp\/)?([0-9a-f-]{36})\//i.exec(iss ?? "")?.[1] ?? tid;
  const user = [oid, sub].map((id) => id?.trim()).find((id) => id && !/^not supported currently/i.test(id));
  return tenant && user ? `${tenant}/${user}`.toLowerCase() : "";
}

/**
 * Decodes a token without checking its signature, which is the API's work.
 * @param {string} token
 */
export function decoded(token) {
  const [, payload] = token.split(".");
  const bytes = Uint8Array.from(atob(payload.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
  return JSON.parse(new TextDecoder().decode(bytes));
}

/** Only the person can go on, by signing in. */
export class SignInNeeded extends Error {}

/** The person was signed out, by another tab for instance. */
export class SignedOut extends Error {}

/** Somebody else's token came where the person's was asked for. */
export class OtherUser extends Error {
  /**
   * @param {{name: string}} who
   * @param {string} [other]
   */
  constructor(who, other = "somebody else") {
    super(`${who.name} is signed in here, and the sign-in answered for ${other}. Nothing was sent, and nothing is lost.`);
  }
}

/** No answer could be read: there is no network, nobody answers, or CORS keeps it from this page. */
export class Unreachable extends Error {
  /**
   * @param {"offline" | "unreachable" | "cors"} kind
   * @param {string} host
   * @param {ErrorOptions} [options]
   */
  constructor(kind, host, options) {
    super(kind === "offline" ? "There is no network." : kind === "cors" ? `${host} answers, but not to this page.` : `${host} does not answer.`, options);
    this.kind = kind;
    this.host = host;
  }
}
