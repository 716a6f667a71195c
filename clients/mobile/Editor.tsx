// The form that edits an item: its fields are those of the single-page app's content.js.

import { useRef, useState } from "react";
import { KeyboardAvoidingView, Modal, Platform, ScrollView, Switch, TextInput, View } from "react-native";
import { SafeAreaView } from "react-native-safe-area-context";
import { fields } from "../spa/content.js";
import { draftOf, shownOf } from "../spa/draft.js";
import * as sync from "../spa/sync.js";
import { Button, Buttons, useColours, Words } from "./ui";

type Props = { item: sync.Item | null; close: () => void; changed: () => unknown; removed: (undo: () => Promise<void>) => void };
export function Editor({ item, close, changed, removed }: Props) {
  const c = useColours();
  const before = useRef(shownOf(item)).current;
  const [typed, setTyped] = useState(before);
  const [wrong, setWrong] = useState<Record<string, string>>({});
  const [busy, setBusy] = useState(false);

  async function work(todo: () => Promise<unknown>) {
    setBusy(true);
    try {
      await todo();
      close(); // not before: closed means kept
      changed();
    } catch (error: any) {
      setWrong({ [fields[0]!.name]: `This could not be kept on this phone: ${error.message}` });
    }
    setBusy(false);
  }
  const remove = (what: sync.Item) => work(async () => removed(await sync.remove(what)));
  function save() {
    const { draft, wrong } = draftOf(item, typed, before);
    setWrong(wrong);
    if (draft) void work(() => (item ? sync.edit(item, draft) : sync.create(draft)));
  }
  const heading = item ? "Edit item" : "New item";
  const look = { borderWidth: 1, borderRadius: 12, padding: 12, fontSize: 17, color: c.text, backgroundColor: c.card };
  return (
    <Modal animationType="slide" presentationStyle="pageSheet" onRequestClose={close} aria-label={heading}>
      <SafeAreaView style={{ flex: 1, backgroundColor: c.page }}>
        <KeyboardAvoidingView behavior={Platform.OS === "ios" ? "padding" : undefined} style={{ flex: 1 }}>
          <ScrollView keyboardShouldPersistTaps="handled" contentContainerStyle={{ padding: 20, gap: 16 }}>
            <Words kind="title">{heading}</Words>
            {fields.map(({ name, label, hint, type, rows }, n) => {
              const put = (value: string | boolean) => setTyped({ ...typed, [name]: value });
              const border = { borderColor: wrong[name] ? c.bad : c.line, minHeight: (rows ?? 2) * 26, verticalAlign: "top" } as const;
              return (
                <View key={name} style={{ gap: 6 }}>
                  <Words kind="strong">{label} {hint ? <Words kind="small" colour="quiet">{hint}</Words> : null}</Words>
                  {type === "checkbox" && <Switch aria-label={label} value={Boolean(typed[name])} onValueChange={put} />}
                  {type !== "checkbox" && (
                    <TextInput aria-label={label} testID={`field-${name}`} value={String(typed[name])} onChangeText={put} multiline={!!rows}
                      autoFocus={!item && n === 0} autoCapitalize={rows ? "none" : "sentences"} style={[look, border]} />
                  )}
                  {wrong[name] && <Words kind="small" colour="bad" role="alert">{wrong[name]}</Words>}
                </View>
              );
            })}
            <Buttons>
              <Button text="Save" kind="primary" busy={busy} go={save} />
              <Button text="Cancel" kind="plain" go={close} />
              {item && <Button text="Delete" kind="danger" busy={busy} go={() => remove(item)} />}
            </Buttons>
          </ScrollView>
        </KeyboardAvoidingView>
      </SafeAreaView>
    </Modal>
  );
}
