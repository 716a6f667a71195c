// What every screen is made of: colours of the system's scheme, texts, buttons, cards.

import type { ReactNode } from "react";
import { Platform, Pressable, Text, useColorScheme, View, type TextProps, type ViewProps } from "react-native";

const light = {
  page: "#f3f4f7", card: "#ffffff", text: "#1b1f27", quiet: "#525a69", line: "#c9ced8",
  accent: "#0b5cad", onAccent: "#ffffff", bad: "#a4161a", good: "#17692f", wait: "#7a4b00",
};
const dark: typeof light = {
  page: "#14171d", card: "#1f242d", text: "#eceff4", quiet: "#aab2c0", line: "#434b5a",
  accent: "#7db7f5", onAccent: "#0c1a2b", bad: "#ff9a94", good: "#7fd494", wait: "#f0c070",
};
type Colour = keyof typeof light;
export const useColours = () => (useColorScheme() === "dark" ? dark : light);

const kinds = {
  title: { fontSize: 30, lineHeight: 38, fontWeight: "700" },
  heading: { fontSize: 20, lineHeight: 26, fontWeight: "700" },
  strong: { fontSize: 17, lineHeight: 24, fontWeight: "600" },
  body: { fontSize: 16, lineHeight: 24 },
  small: { fontSize: 14, lineHeight: 20 },
  code: { fontSize: 13, lineHeight: 19, fontFamily: Platform.select({ ios: "Menlo", default: "monospace" }) },
} as const;

export function Words({ kind = "body", colour = "text", style, ...rest }: TextProps & { kind?: keyof typeof kinds; colour?: Colour }) {
  const level = { title: 1, heading: 2 }[kind as string];
  const heading = level && ({ role: "heading", "aria-level": level } as object);
  return <Text {...heading} {...rest} style={[kinds[kind], { color: useColours()[colour] }, style]} />;
}

type ButtonProps = { text: string; go: () => unknown; kind?: "primary" | "danger" | "plain"; busy?: boolean; label?: string };
export function Button({ text, go, kind, busy, label }: ButtonProps) {
  const c = useColours();
  const colour = kind === "danger" ? "bad" : "accent";
  const [edge, fill] = [kind === "plain" ? "transparent" : c[colour], kind === "primary" ? c.accent : "transparent"];
  const shape = { minHeight: 48, paddingVertical: 11, paddingHorizontal: kind === "plain" ? 8 : 18, borderRadius: 12, borderWidth: 1 };
  return (
    <Pressable role="button" aria-label={label} disabled={busy} onPress={go}
      style={({ pressed }) => [shape, { borderColor: edge, backgroundColor: fill, opacity: busy ? 0.5 : pressed ? 0.7 : 1 }]}>
      <Words kind="strong" colour={kind === "primary" ? "onAccent" : colour} style={{ textAlign: "center" }}>{text}</Words>
    </Pressable>
  );
}

export function Card({ edge, style, ...rest }: ViewProps & { edge?: Colour }) {
  const c = useColours();
  const look = { backgroundColor: c.card, borderColor: c.line, borderWidth: 1, borderRadius: 16, padding: 16, gap: 8 };
  return <View {...rest} style={[look, edge && { borderLeftWidth: 6, borderLeftColor: c[edge] }, style]} />;
}
export const Buttons = (p: { children: ReactNode }) => <View style={{ flexDirection: "row", flexWrap: "wrap", gap: 8 }}>{p.children}</View>;
