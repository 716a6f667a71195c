// What an access token says, next to what the API expects of it.

/** @param {number} seconds */
const time = (seconds) => new Date(seconds * 1000).toLocaleString();
/** @param {string} scope */
const short = (scope) => scope.slice(scope.lastIndexOf("/") + 1);

/**
 * Lines that compare a token's claims with what the API expects; ok is undefined where
 * only the API knows.
 * @param {Record<string, any>} claims
 * @param {import("./auth.js").Config} config
 * @param {number} [now] in seconds
 * @returns {{claim: string, value: string, expected: string, ok?: boolean}[]}
 */
export function compare(claims, config, now = Date.now() / 1000) {
  const { signUpSignIn, editProfile } = config.policies ?? {};
  const policies = [signUpSignIn, editProfile].filter((name) => name !== undefined);
  const policy = claims.tfp ?? claims.acr;
  const { host } = new URL(config.authority);
  const granted = (claims.scp ?? "").split(" ");
  const wanted = [short(config.scopes.read), short(config.scopes.write)];
  const missing = wanted.filter((scope) => !granted.includes(scope));
  return [
    {
      claim: "aud",
      value: claims.aud,
      expected: claims.aud === config.clientId ? "the API's application ID; this is the app's own: ask for the API's scopes" : "the API's application ID, not this app's",
      ok: claims.aud === config.clientId ? false : undefined,
    },
    policies.length
      ? { claim: "iss", value: claims.iss, expected: `an issuer at ${host}`, ok: claims.iss?.includes(`//${host}/`) }
      : { claim: "iss", value: claims.iss, expected: "the issuer of the tenant" },
    ...(policies.length
      ? [{ claim: claims.tfp ? "tfp" : "acr", value: policy, expected: `one of ${policies.join(", ")}`, ok: policies.some((p) => p.toLowerCase() === policy?.toLowerCase()) }]
      : []),
    { claim: "azp", value: claims.azp, expected: `this app, ${config.clientId}`, ok: claims.azp === config.clientId },
    {
      claim: "scp",
      value: claims.scp ?? "(none)",
      expected: missing.length ? `${wanted.join(" and ")}; ${missing.join(" and ")} was not granted` : `${wanted.join(" to list, ")} to change`,
      ok: missing.length === 0,
    },
    { claim: "nbf", value: time(claims.nbf), expected: "a time that has come", ok: claims.nbf <= now + 60 },
    { claim: "exp", value: time(claims.exp), expected: "a time to come", ok: claims.exp > now },
    { claim: "sub, oid", value: claims.oid ?? claims.sub, expected: "whose items are meant", ok: Boolean(claims.oid ?? claims.sub) },
  ];
}
