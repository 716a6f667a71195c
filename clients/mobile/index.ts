import { registerRootComponent } from "expo";
import { maybeCompleteAuthSession } from "expo-web-browser";
import "./platform";
import App from "./App";

// On the web the sign-in's window comes back here, too, for the page that opened it to close.
if (maybeCompleteAuthSession().type !== "success") registerRootComponent(App);
