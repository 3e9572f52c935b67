import { BODY, Columns, Painter, QUIET, QUIET_NOTE, drawWave, picture, staticHtml, styled } from "./line.js";

// A stream of sound: its waveform, and a player with the sound so far: sound_wave.py, live.

const WAVE_HEIGHT = 72;

export class SoundsPart {
  constructor() {
    this.columns = new Columns();
    this.svg = picture(WAVE_HEIGHT, `width:100%;height:${WAVE_HEIGHT}px;display:block`);
    this.end = styled("span", "");
    this.wave = styled("div", `${BODY};max-width:480px;margin:4px 0`, this.svg,
      styled("div", "font-size:12px;line-height:16px;opacity:.7;display:flex;justify-content:space-between", styled("span", "", "0 s"), this.end));
    this.audio = styled("audio", "display:block;width:100%;max-width:480px;height:40px;margin:4px 0");
    this.audio.controls = true;
    this.audio.preload = "metadata";
    this.audio.addEventListener("ended", () => this.playOn());
    this.audio.addEventListener("pause", () => this.load());
    for (const name of ["loadedmetadata", "error"]) this.audio.addEventListener(name, () => this.loaded());
    this.facts = styled("div", QUIET_NOTE);
    this.note = styled("div", QUIET_NOTE);
    this.segments = [];
    this.url = ""; // object URL of the loaded sound
    this.waiting = false; // new sound has not been loaded yet
    this.loading = false; // replacing a sound that is still loading leaves the player empty
    this.root = styled("div", "", this.audio, this.facts);
    this.painter = new Painter(() => this.paint());
  }

  receive(part, whole) {
    if (part.line) this.columns.apply(part.line);
    if (whole) this.segments = [];
    if (part.segments) this.append(part);
    if (part.file?.startsWith("data:audio/")) this.segments = [], this.file = part.file, this.waiting = true;
    this.part = part.drawn && !part.line ? { ...part, end: this.part?.end } : part;
    this.load();
    this.painter.ask();
  }

  append({ format, first, segments }) {
    this.format = format;
    for (const [number, data] of segments) {
      this.segments.push([number, Uint8Array.from(atob(data), (character) => character.charCodeAt(0))]);
    }
    this.segments = this.segments.filter(([number]) => number >= first);
    this.waiting = true;
  }

  loaded() {
    this.loading = false;
    this.load();
  }

  // Load the sound so far into the player, but not during playback, which would be cut off.
  load() {
    const playing = !this.audio.paused && !this.audio.ended;
    if (!this.waiting || this.loading || playing) return;
    this.waiting = false;
    this.loading = true;
    const at = this.audio.currentTime;
    URL.revokeObjectURL(this.url);
    this.url = this.segments.length ? URL.createObjectURL(wavFile(this.format, this.segments.map(([, data]) => data))) : "";
    this.audio.src = this.url || this.file;
    if (at > 0) this.audio.currentTime = at;
  }

  // Playback reached the end of the loaded sound: continue with the sound received since.
  playOn() {
    if (!this.waiting) return;
    this.load();
    this.audio.play().catch(() => {}); // the page may not be allowed to play
  }

  paint() {
    const { facts, note, drawn, end } = this.part;
    this.facts.textContent = this.audio.title = facts;
    this.note.textContent = note;
    if (drawn) {
      this.end.textContent = end;
      drawWave(this.svg, this.columns, WAVE_HEIGHT);
    }
    const parts = [...(drawn ? [this.wave] : []), this.audio, this.facts, ...(note ? [this.note] : [])];
    if (parts.length !== this.root.children.length || parts[0] !== this.root.firstChild) this.root.replaceChildren(...parts);
  }

  // The static form takes over, and playback continues there.
  ending(host) {
    if (this.audio.paused || !host) return;
    const at = this.audio.currentTime;
    const observer = new MutationObserver(() => {
      const player = host.querySelector("audio[src^='data:']");
      if (!player) return;
      observer.disconnect();
      player.currentTime = at;
      player.play().catch(() => {});
    });
    observer.observe(host, { childList: true, subtree: true });
    setTimeout(() => observer.disconnect(), 2_000);
  }

  close() {
    this.audio.pause();
    URL.revokeObjectURL(this.url);
  }

  snapshot() {
    const copy = this.root.cloneNode(true);
    copy.querySelector("audio").remove(); // object URLs are revoked with the page
    return staticHtml(copy);
  }
}

// Samples as a WAV file, like that of Python's wave module.
function wavFile([channels, width, rate], parts) {
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  const head = new DataView(new ArrayBuffer(44));
  const text = (at, word) => [...word].forEach((character, place) => head.setUint8(at + place, character.charCodeAt(0)));
  text(0, "RIFF");
  head.setUint32(4, 36 + length, true);
  text(8, "WAVEfmt ");
  head.setUint32(16, 16, true);
  head.setUint16(20, 1, true);
  head.setUint16(22, channels, true);
  head.setUint32(24, rate, true);
  head.setUint32(28, rate * channels * width, true);
  head.setUint16(32, channels * width, true);
  head.setUint16(34, 8 * width, true);
  text(36, "data");
  head.setUint32(40, length, true);
  return new Blob([head, ...parts], { type: "audio/wav" });
}
