// Whose app it is, and what it shows; start reading here.

import { useEffect, useRef, useState } from "react";
import { Pressable, ScrollView, View } from "react-native";
import { SafeAreaProvider, SafeAreaView } from "react-native-safe-area-context";
import * as api from "../spa/api.js";
import * as sync from "../spa/sync.js";
import * as auth from "./auth";
import { Editor } from "./Editor";
import { Items } from "./Items";
import * as store from "./store";
import { Token } from "./Token";
import { explain, TroubleCard, type Trouble } from "./trouble";
import { Button, useColours, Words } from "./ui";
import { watch, type Now } from "./watch";

const nothing: Now = { rows: [], says: "", well: true };
api.start(auth.config);
export default function App() {
  const c = useColours();
  const [person, setPerson] = useState<auth.Person | null | undefined>(); // undefined until it is known
  const [now, setNow] = useState(nothing);
  const [view, setView] = useState<"Items" | "Token">("Items");
  const [editing, setEditing] = useState<sync.Item | null | undefined>(); // null is a new one
  const [trouble, setTrouble] = useState<Trouble | null>(null);
  const [busy, setBusy] = useState(false);
  const looks = useRef(async () => {});
  const look = () => looks.current();
  const say = (title: string, detail?: string, text = "", go?: () => Promise<unknown>, kind: "primary" | "danger" = "primary") =>
    setTrouble({ calm: true, title, detail, actions: go && [{ text, go: () => guard(go), kind }] });

  async function guard(work: () => Promise<unknown>) {
    setBusy(true);
    setTrouble(null);
    await work().catch((error) => setTrouble(explain(error, () => guard(reset))));
    setBusy(false);
  }
  useEffect(() => void guard(() => auth.restore().then(setPerson, (error) => (setPerson(null), Promise.reject(error)))), []);
  useEffect(() => void (person && guard(async () => void (looks.current = watch(person, setNow)))), [person]);

  const signIn = async () => setPerson(await auth.signIn());
  const signInAgain = () => guard(() => auth.signIn(person).then(look));
  async function reset() {
    await auth.resetPassword();
    say("The password is reset", "Sign in with the new one.", "Sign in", signIn);
  }
  async function signOut(agreed: number): Promise<void> {
    const unsent = (await store.queue().catch(() => [])).length; // a file that cannot be read keeps nobody in
    if (!person) return;
    if (unsent > agreed) {
      const detail = `What you changed last is on this phone alone (${unsent} in all), and signing out deletes it.`;
      return say("Not everything has been sent", detail, "Sign out and lose it", () => signOut(unsent), "danger");
    }
    [person.session.abort(), store.close(), sync.stop()];
    [setPerson(null), setNow(nothing), setView("Items")];
    await auth.signOut();
    say("You are signed out", "Nothing of yours is left on this phone.");
  }
  const removed = (undo: () => Promise<void>) => say("Deleted", undefined, "Undo", () => undo().then(look));
  const message = trouble && <View style={{ padding: 16 }}><TroubleCard of={trouble} close={() => setTrouble(null)} /></View>;
  const tab = (name: typeof view) => (
    <Pressable key={name} role="tab" aria-selected={view === name} onPress={() => setView(name)}
      style={{ flex: 1, padding: 14, borderTopWidth: 3, borderColor: view === name ? c.accent : "transparent" }}>
      <Words kind="strong" colour={view === name ? "accent" : "quiet"} style={{ textAlign: "center" }}>{name}</Words>
    </Pressable>
  );
  return (
    <SafeAreaProvider>
      <SafeAreaView style={{ flex: 1, backgroundColor: c.page }} role="main">
        {person === null ? (
          <ScrollView contentContainerStyle={{ flexGrow: 1, justifyContent: "center", padding: 8 }}>
            <View style={{ padding: 16, gap: 16 }}>
              <Words kind="title">Items</Words>
              <Words>A list that is yours alone, behind an API that says what is wrong with a token, and what to do.</Words>
              <Words kind="small" colour="quiet">{`You sign in at ${auth.host()}, in the browser. This app never sees a password.`}</Words>
            </View>
            {message}
            <View style={{ padding: 16 }}><Button text="Sign in or sign up" kind="primary" busy={busy} go={() => guard(signIn)} /></View>
          </ScrollView>
        ) : person && (
          <>
            <View style={{ flexDirection: "row", alignItems: "center", justifyContent: "space-between", paddingLeft: 16, paddingRight: 8 }}>
              <Words kind="small" colour="quiet" style={{ flexShrink: 1 }}>{`Signed in as ${person.name}`}</Words>
              <Button text="Sign out" kind="plain" busy={busy} go={() => guard(() => signOut(0))} />
            </View>
            {message}
            <View style={{ flex: 1 }}>
              {view === "Token" && <Token person={person} guard={guard} busy={busy} />}
              {view === "Items" && <Items now={now} edit={setEditing} look={look} signIn={signInAgain} />}
            </View>
            <View role="tablist" style={{ flexDirection: "row", borderTopWidth: 1, borderColor: c.line, backgroundColor: c.card }}>
              {tab("Items")}{tab("Token")}
            </View>
          </>
        )}
        {person && editing !== undefined && <Editor item={editing} close={() => setEditing(undefined)} changed={look} removed={removed} />}
      </SafeAreaView>
    </SafeAreaProvider>
  );
}
