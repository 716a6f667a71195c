// The functions of the single-page app's store.js, over one file for each person: items as
// the server has them, and the changes that wait to be sent. All of it is in memory, and
// each change writes the file again.

import type { Entry, Item } from "../spa/sync.js";
import type { Person } from "./auth";
import * as device from "./device";

type Kept = { items: Map<string, Item>; queue: Map<number, Entry>; meta: Map<string, any> };

let kept: Kept | null = null;
let told: (ids: string[]) => void = () => {};
let last: Promise<unknown> = Promise.resolve();
export let person: Person | null = null; // whose items these are

export function open(who: Person, changed: typeof told) {
  [person, told] = [who, changed];
  kept = copy(JSON.parse(device.load(who.owner) ?? '{"items":[],"queue":[],"meta":[]}'));
}

/** Deletes what is kept of the person, who leaves. */
export function close() {
  if (person) device.erase(person.owner);
  [kept, person] = [null, null];
}

function opened(of = person) {
  if (!kept || person !== of) throw new Error("you have signed out");
  return kept;
}
export const tell = (_message: unknown) => {}; // on a phone there are no other tabs

const copy = (of: Record<keyof Kept, any>): Kept => ({ items: new Map(of.items), queue: new Map(of.queue), meta: new Map(of.meta) });
const inLine = (queue: Kept["queue"]) => [...queue.values()].sort((a, b) => a.seq - b.seq);

/** What a change gets in place of a browser's object stores, which answer later: done waits for them. */
function stores({ items, queue, meta }: Kept, ids: Set<string>) {
  const put = (entry: Entry) => {
    const seq = entry.seq ?? (meta.get("seq") ?? 0) + 1; // never one that was there before
    if (!entry.seq) meta.set("seq", seq);
    queue.set(seq, { ...entry, seq });
  };
  return {
    items: {
      put: (item: Item) => (ids.add(item.id), items.set(item.id, item)),
      delete: (id: string) => (ids.add(id), items.delete(id)),
      getAllKeys: () => [...items.keys()],
    },
    queue: { add: put, put, delete: (seq: number) => queue.delete(seq), getAll: () => inLine(queue) },
    meta: { get: (key: string) => meta.get(key), put: (of: any, key: string) => meta.set(key, of), delete: (key: string) => meta.delete(key) },
    done: async <T>(value: T) => value,
  };
}

/** Does several things at once or not at all. */
export function change<T>(work: (all: ReturnType<typeof stores>) => T | Promise<T>): Promise<T> {
  const of = person;
  const turn = last.then(async () => {
    const [next, ids] = [copy(opened(of)), new Set<string>()];
    const result = await work(stores(next, ids));
    opened(of); // or they have left meanwhile
    device.save(of!.owner, JSON.stringify({ items: [...next.items], queue: [...next.queue], meta: [...next.meta] }));
    kept = next;
    told([...ids]);
    return result;
  });
  last = turn.catch(() => {});
  return turn;
}

/** Items and line as they are; with ids, those items alone, in their order. */
export async function everything(ids?: string[]) {
  const { items, queue } = opened();
  return { items: ids ? ids.map((id) => items.get(id)) : [...items.values()], queue: inLine(queue) };
}
export const queue = async () => inLine(opened().queue);
export const meta = async (key: string) => opened().meta.get(key);
