// <avsr-player result="NAME">: a recording with its words, which light up as they are said and can
// be corrected. It asks the server it comes from, and nobody else.

const ROOT = "/avsr/results/";
const LINE = 9; // words of the caption over the picture
const POLL_MS = 500; // how often it is asked how far a file is
const SEEN_MS = 30000; // how often it is told that a result is still looked at
const MADE = { page: "explained page", film: "film with captions" };
const LEGEND = [
  ["heard", "heard"],
  ["heard-likely", "less sure"],
  ["heard-doubtful", "in doubt"],
  ["read", "lip-read"],
  ["read-likely", "less sure"],
  ["read-doubtful", "in doubt"],
];

/** An element with a class, and text or children. */
export function make(tag, name, ...inside) {
  const element = document.createElement(tag);
  if (name) element.className = name;
  element.append(...inside);
  return element;
}

export function clock(seconds) {
  const whole = Math.floor(seconds);
  const parts = [Math.floor(whole / 60) % 60, whole % 60].map((n) => String(n).padStart(2, "0"));
  return whole >= 3600 ? `${Math.floor(whole / 3600)}:${parts.join(":")}` : parts.join(":");
}

/** Asks the server; an error is thrown with its line for people. */
export async function ask(path, body, method = body === undefined ? "GET" : "POST") {
  const options = { method, body };
  if (typeof body === "string") options.headers = { "Content-Type": "application/json" };
  const answer = await fetch(path, options);
  const found = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(found.error || `the server answers ${answer.status}`);
  return found;
}

/** Tells the server now and then that something is still on the page; what is not goes in a while. */
export function keep(path, isThere) {
  const timer = setInterval(() => {
    if (isThere()) ask(`${path}/seen`).catch(() => {});
    else clearInterval(timer);
  }, SEEN_MS);
}

class Player extends HTMLElement {
  static observedAttributes = ["result"];

  attributeChangedCallback() {
    this.replaceChildren();
    const name = this.getAttribute("result");
    if (name && !name.startsWith("$")) this.load(name);
  }

  disconnectedCallback() {
    cancelAnimationFrame(this.frame);
  }

  async load(name) {
    const path = ROOT + encodeURIComponent(name);
    this.path = path;
    keep(path, () => this.path === path && this.isConnected && this.checkVisibility());
    try {
      this.build(await ask(this.path));
    } catch (error) {
      this.append(this.line(error.message));
    }
  }

  line(text) {
    const line = make("p", "avsr-error", text);
    line.setAttribute("role", "alert");
    return line;
  }

  build(result) {
    this.media = document.createElement("video");
    Object.assign(this.media, { controls: true, preload: "metadata", playsInline: true });
    this.media.setAttribute("aria-label", `Recording ${result.name}`);
    this.media.src = `${this.path}/media`;
    this.media.addEventListener("play", () => this.follow());
    this.media.addEventListener("timeupdate", () => this.light());
    this.media.addEventListener("error", () => this.unplayable());
    this.caption = make("p", "caption");
    this.caption.setAttribute("aria-hidden", "true");
    const screen = make("div", result.has_video ? "screen" : "screen sound", this.media, this.caption);
    this.list = make("ol", "lines");
    this.list.setAttribute("aria-label", "Words, each with its moment: arrows move, Enter plays, F2 corrects");
    this.list.addEventListener("click", (event) => this.clicked(event));
    this.list.addEventListener("keydown", (event) => this.pressed(event));
    this.editor = this.makeEditor();
    this.section = make("section", "avsr-player", make("div", "stage", screen, this.legend()));
    this.section.setAttribute("aria-label", "Result");
    this.section.append(make("div", "script", this.list, this.editor));
    this.files = make("nav", "files");
    this.files.setAttribute("aria-label", "Downloads");
    this.warnings = make("ul", "warnings");
    this.append(this.section, this.warnings, this.files);
    this.show(result);
  }

  /** Everything that a correction may change. */
  show(result) {
    const before = this.drawn ?? [];
    this.drawn = result.segments.map((segment, at) => {
      const from = JSON.stringify(segment);
      return before[at]?.from === from ? before[at] : { from, ...this.segment(segment, at) };
    });
    this.words = this.drawn.flatMap((drawn) => drawn.words);
    this.redraw(before);
    if (!this.words.length) this.list.append(make("li", "nothing", "No words were found."));
    this.setCurrent(this.words[0]);
    this.warnings.replaceChildren(...result.warnings.map((text) => make("li", "", text)));
    const stem = result.files[0].replace(/\.[^.]*$/, "");
    const links = [...result.files, `${stem}.zip`].map((file) => this.link(file));
    const made = Object.entries(result.makes).map(([kind, file]) => this.maker(kind, file));
    this.files.replaceChildren(make("span", "", "Download:"), ...links, ...made);
  }

  /** Puts lines in the place of those before; in a long text most stay, and drawing takes long. */
  redraw(before) {
    const lines = this.drawn.map((drawn) => drawn.line);
    if (before.length !== lines.length) this.list.replaceChildren(...lines);
    else lines.forEach((line, at) => line !== before[at].line && before[at].line.replaceWith(line));
  }

  link(file) {
    const format = file.split(".").pop();
    const address = `${this.path}/files/${encodeURIComponent(file)}`;
    return this.download(address, file, format === "zip" ? "all" : format);
  }

  download(address, file, text) {
    const link = make("a", "", text);
    Object.assign(link, { href: address, download: file });
    link.setAttribute("aria-label", `Download ${file}`);
    return link;
  }

  /** A button for a file that takes a while to make; it becomes a link to that file. */
  maker(kind, file) {
    const place = make("span", "maker");
    const button = make("button", "", MADE[kind]);
    button.type = "button";
    button.setAttribute("aria-label", `Make ${file}`);
    button.addEventListener("click", () => this.makeFile(kind, file, place, button));
    place.append(button);
    return place;
  }

  async makeFile(kind, file, place, button) {
    const path = `${this.path}/make/${kind}`;
    const told = make("span", "", `${MADE[kind]}: waiting`);
    told.setAttribute("role", "status");
    const cancel = make("button", "", "Cancel");
    cancel.type = "button";
    cancel.setAttribute("aria-label", `Cancel ${file}`);
    cancel.addEventListener("click", () => ask(path, undefined, "DELETE"));
    place.replaceChildren(told, cancel);
    cancel.focus();
    try {
      let news = await ask(path, "{}");
      while (!news.done && place.isConnected) {
        if (news.share !== null) told.textContent = `${MADE[kind]}: ${Math.round(100 * news.share)} %`;
        await new Promise((resolve) => setTimeout(resolve, POLL_MS));
        news = await ask(path);
      }
      const link = this.download(`${this.path}/made/${kind}`, file, MADE[kind]);
      place.replaceChildren(link);
      if (place.isConnected) link.click();
      link.focus();
    } catch (error) {
      place.replaceChildren(button);
      if (error.message !== "cancelled") this.files.after(this.line(error.message));
      button.focus();
    }
  }

  segment(segment, at) {
    const words = make("p", "words");
    const said = [];
    segment.words.forEach((word, number) => {
      const button = make("button", `word ${word.colour}`, word.word);
      button.type = "button";
      button.tabIndex = -1;
      if (!word.glued && number) words.append(" ");
      words.append(button);
      said.push({ ...word, segment: at, number, button });
    });
    const line = make("li", segment.in_domain === false ? "foreign" : "");
    const head = make("div", "head", make("span", "time", clock(segment.start_s)));
    if (segment.speaker) head.append(this.speaker(segment.speaker));
    line.append(head, words);
    return { line, words: said };
  }

  speaker(name) {
    const button = make("button", "speaker", name);
    button.type = "button";
    button.title = "Rename";
    button.setAttribute("aria-label", `Speaker ${name}: rename`);
    button.addEventListener("click", () => {
      const wanted = window.prompt(`What is ${name} called?`, name);
      if (wanted) this.change("speakers", { old: name, new: wanted });
    });
    return button;
  }

  legend() {
    const shown = LEGEND.map(([name, meaning]) => make("li", `word ${name}`, meaning));
    const list = make("ul", "legend", ...shown);
    list.setAttribute("aria-label", "What the colours mean");
    return list;
  }

  makeEditor() {
    this.input = document.createElement("input");
    this.input.type = "text";
    this.input.id = "avsr-word";
    const label = make("label", "", "Word");
    label.htmlFor = this.input.id;
    this.detail = make("span", "detail");
    const play = make("button", "", "Play");
    const save = make("button", "save", "Save");
    play.type = "button";
    play.addEventListener("click", () => this.play(this.current));
    const form = make("form", "editor", label, this.input, play, save, this.detail);
    form.setAttribute("aria-label", "Correct a word");
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.save();
    });
    form.hidden = true;
    return form;
  }

  /** One word is the current one: it alone is reached by the tab key. */
  setCurrent(word) {
    if (this.current) this.current.button.tabIndex = -1;
    this.current = word;
    this.editor.hidden = !word;
    if (!word) return;
    word.button.tabIndex = 0;
    this.input.value = word.word;
    const percent = (share) => `${Math.round(100 * share)} %`;
    this.detail.textContent =
      `${clock(word.start_s)}, ${percent(word.confidence)} sure, ` +
      `${percent(word.audio_weight)} heard`;
  }

  of(target) {
    return this.words.find((word) => word.button === target);
  }

  clicked(event) {
    const word = this.of(event.target);
    if (!word) return;
    this.setCurrent(word);
    this.media.currentTime = word.start_s;
    if (event.detail > 1) this.input.select();
  }

  pressed(event) {
    const at = this.words.indexOf(this.current);
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (event.key === "F2") {
      this.input.focus();
      this.input.select();
    } else if (event.key === "Enter") {
      this.play(this.current);
    } else if (step && this.of(event.target)) {
      const next = this.words[at + step];
      if (next) {
        this.setCurrent(next);
        next.button.focus();
      }
    } else {
      return;
    }
    event.preventDefault();
  }

  play(word) {
    this.media.currentTime = word.start_s;
    this.media.play().catch(() => {});
  }

  save() {
    const { segment, number } = this.current;
    if (this.input.value !== this.current.word) {
      this.change("words", { segment, word: number, text: this.input.value });
    }
  }

  /** Sends a correction and shows what came of it; the place in the text is kept. */
  async change(what, body) {
    const at = this.words.indexOf(this.current);
    try {
      this.show(await ask(`${this.path}/${what}`, JSON.stringify(body)));
      this.setCurrent(this.words[Math.min(at, this.words.length - 1)]);
      this.current?.button.focus();
    } catch (error) {
      this.section.append(this.line(error.message));
    }
  }

  follow() {
    this.light();
    if (!this.media.paused) this.frame = requestAnimationFrame(() => this.follow());
  }

  /** Lights the word that is being said, in the text and over the picture. */
  light() {
    const now = this.media.currentTime;
    const at = this.words.findLastIndex((word) => word.start_s <= now);
    const word = this.words[at];
    if (word === this.lit) return;
    this.lit?.button.removeAttribute("aria-current");
    this.lit = word;
    this.caption.replaceChildren();
    if (!word) return;
    word.button.setAttribute("aria-current", "true");
    this.setCaption(word);
    if (!this.media.paused) this.reveal(word.button);
  }

  setCaption(word) {
    const line = this.words.filter((other) => other.segment === word.segment);
    const begin = Math.floor(line.indexOf(word) / LINE) * LINE;
    for (const other of line.slice(begin, begin + LINE)) {
      const shown = make("span", `word ${other.colour}`, other.word);
      if (other === word) shown.classList.add("now");
      this.caption.append(other.glued ? "" : " ", shown);
    }
  }

  /** Scrolls the text, never the page. */
  reveal(button) {
    const [box, inside] = [this.list.getBoundingClientRect(), button.getBoundingClientRect()];
    if (inside.top < box.top || inside.bottom > box.bottom) {
      this.list.scrollTop += inside.top - box.top - box.height / 3;
    }
  }

  /** Asks for a copy that browsers play; where that does not play either, words remain. */
  unplayable() {
    const copy = `${this.path}/copy`;
    if (this.note) {
      this.note.textContent = "This recording cannot be played here; its words are all there.";
      return;
    }
    this.note = this.line("This browser cannot play the recording: a copy is being made.");
    this.media.after(this.note);
    this.media.addEventListener("loadedmetadata", () => (this.note.textContent = ""), { once: true });
    this.media.src = copy;
  }
}

customElements.define("avsr-player", Player);
