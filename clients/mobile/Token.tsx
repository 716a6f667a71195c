// The access token beside what the API expects of it, and wrong turns to take.

import { useEffect, useState } from "react";
import { ScrollView, View } from "react-native";
import * as api from "../spa/api.js";
import { compare } from "../spa/token.js";
import * as auth from "./auth";
import { TroubleCard, type Trouble } from "./trouble";
import { Button, Card, useColours, Words } from "./ui";

const verdicts = { true: ["good", "As expected"], false: ["bad", "Not as expected"], undefined: ["quiet", "The API decides"] } as const;

type Props = { person: auth.Person; guard: (work: () => Promise<unknown>) => void; busy: boolean };
export function Token({ person, guard, busy }: Props) {
  const c = useColours();
  const [token, setToken] = useState("");
  const [answer, setAnswer] = useState<(Trouble & { sent: string }) | null>(null);
  const get = (fresh: boolean) => guard(async () => setToken(await auth.token(person, { fresh })));
  useEffect(() => void get(false), [person]);
  const send = (sent: string, made: () => string | Promise<string>) =>
    guard(async () => {
      setAnswer(null);
      const { status, problem } = await api.call(person, "GET", `${api.collection}?limit=1`, { token: await made() });
      const said = problem ?? { calm: true, title: "the API admits it", detail: "Its audience, scopes, issuer, times and signature are right." };
      setAnswer({ ...said, title: `${status}: ${said.title}`, sent });
    });
  const forItself = ["openid", "offline_access", auth.config.clientId];
  const turns: [string, () => string | Promise<string>][] = [
    ["this access token", () => token],
    ["the ID token instead", () => auth.idToken],
    ["a token for the app’s own ID", async () => (await auth.tokensFor(person, forItself)).accessToken],
    ["a token cut short", () => token.slice(0, -20)],
  ];
  return (
    <ScrollView contentContainerStyle={{ padding: 16, gap: 12 }}>
      <Words kind="title">Your token</Words>
      <Words colour="quiet">What this app sends, beside what the API expects. It is in memory alone.</Words>
      <Card style={{ gap: 0, paddingVertical: 4 }}>
        {(token ? compare(auth.decoded(token), auth.config) : []).map(({ claim, value, expected, ok }, n) => (
          <View key={claim} style={{ paddingVertical: 10, gap: 2, borderTopWidth: n ? 1 : 0, borderColor: c.line }}>
            <View style={{ flexDirection: "row", flexWrap: "wrap", justifyContent: "space-between", columnGap: 12 }}>
              <Words kind="strong">{claim}</Words>
              <Words kind="small" colour={verdicts[`${ok}`][0]}>{verdicts[`${ok}`][1]}</Words>
            </View>
            <Words kind="code" selectable>{value}</Words>
            <Words kind="small" colour="quiet">{`Expected: ${expected}`}</Words>
          </View>
        ))}
      </Card>
      <Button text="Get a new token" busy={busy} go={() => get(true)} />
      <Words kind="heading" style={{ marginTop: 12 }}>Ask for a refusal</Words>
      <Words colour="quiet">Take a wrong turn, and read what the API makes of it. Send …</Words>
      {turns.map(([what, made]) => (
        <View key={what} style={{ gap: 12 }}>
          <Button text={`… ${what}`} label={`Send ${what}`} busy={busy || !token} go={() => send(what, made)} />
          {answer?.sent === what ? <TroubleCard of={answer} close={() => setAnswer(null)} /> : null}
        </View>
      ))}
    </ScrollView>
  );
}
