// The list: what is kept on this phone, newest first, with what waits to be sent.

import { FlatList, Pressable, RefreshControl, View } from "react-native";
import * as content from "../spa/content.js";
import { refusal, waits } from "../spa/refused.js";
import type { Item } from "../spa/sync.js";
import type { Row } from "../spa/view.js";
import { TroubleCard } from "./trouble";
import { Button, Card, useColours, Words } from "./ui";
import type { Now } from "./watch";

type Props = { now: Now; edit: (item: Item | null) => void; look: () => Promise<void>; signIn: () => unknown };
export function Items({ now, edit, look, signIn }: Props) {
  const c = useColours();
  const actions = now.signIn ? [{ text: "Sign in again", go: signIn, kind: "primary" as const }] : [];
  const empty = { calm: true, title: "Nothing here yet", detail: "What you add is yours alone: nobody else who signs in sees it." };
  return (
    <FlatList data={now.rows} keyExtractor={({ item }) => item.id} contentContainerStyle={{ padding: 16, gap: 10 }}
      refreshControl={<RefreshControl refreshing={false} onRefresh={look} tintColor={c.accent} />}
      renderItem={({ item }) => <Line row={item} edit={edit} look={look} />}
      ListEmptyComponent={<TroubleCard of={empty} />}
      ListHeaderComponent={
        <View style={{ gap: 12, marginBottom: 4 }}>
          <Words kind="title">Your items</Words>
          <Words kind="small" colour={now.well ? "quiet" : "wait"} role="status">{now.says}</Words>
          <Button text="New item" kind="primary" go={() => edit(null)} />
          {now.trouble ? <TroubleCard of={{ ...now.trouble, actions }} /> : null}
        </View>
      } />
  );
}

function Line({ row: { item, entry }, edit, look }: { row: Row; edit: Props["edit"]; look: Props["look"] }) {
  const [name, details, wait] = [content.title(item), content.details(item), entry && waits[entry.op]];
  if (entry?.problem) {
    const { title, words, fix, choices } = refusal(item, entry);
    const actions = choices.map(({ text, go }) => ({ text, go: () => (go ? go().then(look) : edit(item)) }));
    return <TroubleCard of={{ title, detail: [name, ...words].filter(Boolean).join("\n"), fix, actions }} />;
  }
  return (
    <Pressable role="button" accessibilityHint="Opens the editor" disabled={entry?.op === "delete"} onPress={() => edit(item)}>
      <Card style={{ gap: 2 }}>
        <Words kind="strong" style={entry?.op === "delete" && { textDecorationLine: "line-through" }}>{name}</Words>
        {details ? <Words kind="small" colour="quiet">{details}</Words> : null}
        {wait ? <Words kind="small" colour="wait">{wait}</Words> : null}
      </Card>
    </Pressable>
  );
}
