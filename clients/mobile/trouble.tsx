// What goes wrong, in words that lead on: the API's own for what it refuses, and those of
// the catalogue, which the doctor has too, for the sign-in's errors.

import catalogue from "../../scripts/internal/signin/errors.json";
import { cancelled, explained, forgotten, type Known } from "../spa/known.js";
import type { Problem } from "../spa/page.js";
import * as auth from "./auth";
import { Button, Buttons, Card, Words } from "./ui";

type Action = { text: string; go: () => unknown; kind?: "primary" | "danger" };
export type Trouble = Omit<Problem, "actions"> & { expected?: object; actual?: object; calm?: boolean; actions?: Action[] };

/** What became of an error; reset is how somebody who forgot their password goes on. */
export function explain(error: any, reset: () => unknown): Trouble {
  const message = String(error.description ?? error.message ?? error);
  if (error instanceof auth.Cancelled || cancelled.test(message)) {
    return { calm: true, title: "The sign-in was cancelled", detail: "Nothing has changed." };
  }
  if (!forgotten.test(message) || !auth.canReset()) return explained(catalogue as Known[], error, error.code ?? "", message);
  const actions = [{ text: "Reset the password", go: reset, kind: "primary" as const }];
  return { calm: true, title: "Forgotten password", detail: "Choose a new one, then sign in with it.", actions };
}

const pairs = (of: object) => Object.entries(of).map(([name, value]) => `${name}: ${[value].flat().join(" ")}`).join("\n");
/** A refusal that names the mistake and the cure. */
export function TroubleCard({ of, close }: { of: Trouble; close?: () => unknown }) {
  return (
    <Card edge={of.calm ? "accent" : "bad"} role={of.calm ? "status" : "alert"}>
      <Words kind="heading">{of.title}</Words>
      {of.detail && <Words>{of.detail}</Words>}
      {of.actual && <Words kind="code" colour="bad">{`It has\n${pairs(of.actual)}`}</Words>}
      {of.expected && <Words kind="code" colour="good">{`The API expects\n${pairs(of.expected)}`}</Words>}
      {of.fix && <Words><Words kind="strong">What to do: </Words>{of.fix}</Words>}
      {of.code && <Words kind="code" colour="quiet">{[of.code, of.instance].filter(Boolean).join(" · ")}</Words>}
      <Buttons>
        {of.actions?.map((action) => <Button key={action.text} {...action} />)}
        {close ? <Button text="Close" kind="plain" go={close} /> : null}
      </Buttons>
    </Card>
  );
}
