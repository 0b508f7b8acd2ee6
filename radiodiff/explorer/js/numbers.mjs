// Bytes that arrive, and numbers as the page writes them.

/** Bytes from base64 text, or from the DataView that a widget receives. */
export function bytesOf(value) {
  if (typeof value !== "string") {
    const bytes = new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
    return bytes.slice(); // its offset need not suit other types
  }
  return Uint8Array.from(atob(value), (character) => character.charCodeAt(0));
}

export const floatsOf = (value) => new Float32Array(bytesOf(value).buffer);

export const number = (value, digits = 1) => value.toFixed(digits).replace("-", "\u2212");
export const percent = (share) => `${number(100 * share)}\u00a0%`;
export const decibels = (value, digits = 2) => `${number(value, digits)}\u00a0dB`;
export const signed = (value) => (value > 0 ? "+" : "") + decibels(value, 1);
