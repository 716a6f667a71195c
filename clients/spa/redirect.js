// The page that the sign-in comes back to, in the window, a popup or a hidden
// frame: it hands the answer to the page that asked (auth.js).
msalRedirectBridge.broadcastResponseToMainFrame();
