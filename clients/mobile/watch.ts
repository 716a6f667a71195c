// Keeps the list true while the app is open: learns and sends (the single-page app's
// sync.js) when it is time to, and says where it stands (state.js).

import { AppState } from "react-native";
import * as api from "../spa/api.js";
import { eventOf, failureOf, initial, next, pause, says, type Event } from "../spa/state.js";
import * as sync from "../spa/sync.js";
import * as view from "../spa/view.js";
import { Unreachable, type Person } from "./auth";
import * as store from "./store";
import type { Trouble } from "./trouble";

export type Now = { rows: view.Row[]; says: string; well: boolean; trouble?: Trouble; signIn?: boolean };

/** Begins for a person, tells of all that changes, and returns what looks for changes now. */
export function watch(who: Person, tell: (now: Now) => void) {
  let state = initial;
  let about: Pick<Now, "trouble" | "signIn"> = {};
  let timer: ReturnType<typeof setTimeout> | undefined;
  let running = Promise.resolve();
  const { signal } = who.session;

  async function show(event?: Event, then = about) {
    if (event) [state, about] = [next(state, event), then];
    const rows = signal.aborted ? [] : await view.view();
    const well = ["starting", "current", "slow"].includes(state.kind);
    if (!signal.aborted) tell({ rows, says: says(state, view.waiting()), well, ...about });
  }
  async function once() {
    if (signal.aborted) return;
    clearTimeout(timer);
    try {
      const result = await sync.run();
      const { problem, status, dropped } = result;
      const signIn = status === 401 || problem?.code?.startsWith("scope.");
      const erased = dropped && { title: "Your items were erased elsewhere", detail: `${dropped.count} unsent changes were dropped.` };
      const trouble = erased ?? (status === 429 ? undefined : problem);
      await show(eventOf(result, Date.now()), { trouble, signIn });
      if (dropped) await sync.told();
    } catch (error: any) {
      const event = failureOf(error, Date.now());
      const signIn = "kind" in event && event.kind === "sign-in";
      const trouble = { title: signIn ? "Please sign in again" : "That did not work", detail: error.message };
      await show(event, error instanceof Unreachable ? {} : { trouble, signIn });
    }
    const seconds = pause(state, { visible: AppState.currentState === "active", idle: 0, waiting: view.waiting() });
    if (!signal.aborted && seconds < Infinity) timer = setTimeout(look, seconds * 1000);
  }
  const look = () => (running = running.then(() => show()).then(once, once)); // what was changed is shown first
  view.clear();
  store.open(who, view.changed);
  api.onSilence((host) => void show({ type: "silent", host }));
  const subscription = AppState.addEventListener("change", (to) => to === "active" && look());
  signal.addEventListener("abort", () => (clearTimeout(timer), subscription.remove()));
  void look();
  return look;
}
