// What went wrong, in words that tell a person what to do. The codes are those of the signaling protocol, the names
// those of DOMException.

const SERVER = {
  invalid_id: "The server does not accept this name. Use letters, digits, “-” and “_”.",
  invalid_room: "The server does not accept this room name. Use up to 64 characters on one line.",
  duplicate_id: "Somebody in this room already uses your id. Choose another one.",
  identity_locked: "This connection already belongs to somebody. Reload the page and join again.",
  already_joined: "You are already in a room. Leave it first.",
  room_full: "The room is full. Try again when somebody has left.",
  room_limit_reached: "The server has no space for another room. Try again later, or join a room that exists.",
};

export function serverWords(code, text) {
  return SERVER[code] ?? `The server answered: ${text || code}`;
}

/** @param what "camera", "microphone" or "screen" */
export function deviceWords(error, what) {
  switch (error?.name) {
    case "NotAllowedError":
    case "SecurityError":
      return `The browser blocks the ${what}. Allow it in the address bar, then try again.`;
    case "NotFoundError":
    case "OverconstrainedError":
      return `No ${what} was found.`;
    case "NotReadableError":
    case "AbortError":
      return `The ${what} is in use by another program.`;
    case "InsecureContext":
      return `Browsers give the ${what} only to https pages and to localhost.`;
    default:
      return `The ${what} did not start: ${error?.message ?? error}`;
  }
}
