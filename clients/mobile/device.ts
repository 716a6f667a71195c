// What is kept on a phone: the refresh token in the system's key store, items and what
// waits to be sent in a file of the app's own, one for each person.

import { File, Paths } from "expo-file-system";
import * as Secure from "expo-secure-store";

const options = { keychainAccessible: Secure.WHEN_UNLOCKED_THIS_DEVICE_ONLY };

/** The iOS keychain outlives the app: a new installation begins with an empty one. */
export async function start() {
  const marker = new File(Paths.document, "installed");
  if (!marker.exists) await clear();
  marker.create({ overwrite: true });
}

export const clear = () => Promise.all([put("person", null), put("refresh", null)]);
/** Where the key store cannot be read, the person signs in again. */
export const get = (name: string) => Secure.getItemAsync(name, options).catch(() => null);

/** What is null, or longer than the 2,048 bytes that every system's key store takes, is not kept. */
export async function put(name: string, value: string | null) {
  const fits = value !== null && new Blob([value]).size <= 2048;
  await (fits ? Secure.setItemAsync(name, value, options) : Secure.deleteItemAsync(name, options));
}

const file = (owner: string, ending = "json") => new File(Paths.document, `${owner.replace("/", "_")}.${ending}`);
export const load = (owner: string) => (file(owner).exists ? file(owner).textSync() : null);

/** Writes the whole file or, if the app ends meanwhile, nothing. */
export function save(owner: string, text: string) {
  const next = file(owner, "new");
  next.create({ overwrite: true });
  next.write(text);
  next.moveSync(file(owner), { overwrite: true });
}
export function erase(owner: string) {
  for (const ending of ["json", "new"]) if (file(owner, ending).exists) file(owner, ending).delete();
}
