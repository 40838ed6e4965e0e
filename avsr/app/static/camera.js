// <avsr-camera>: camera and microphone to the server of this page, captions back. What was recorded
// can be transcribed afterwards: then the event "recorded" carries its name. "began" comes before.

import { ask, clock, keep, make } from "./player.js";

const CHUNK_MS = 250; // of recording in one request
const KINDS = ["video/webm;codecs=vp8,opus", "video/webm", "video/mp4"];
const SOUND = ["audio/webm;codecs=opus", "audio/webm", "audio/mp4"];

class Camera extends HTMLElement {
  connectedCallback() {
    if (this.childElementCount) return;
    this.picture = document.createElement("video");
    Object.assign(this.picture, { muted: true, autoplay: true, playsInline: true });
    this.picture.hidden = true; // until there is something to see
    this.picture.setAttribute("aria-label", "What the camera sees");
    this.seen = this.box("Camera", true);
    this.heard = this.box("Microphone", true);
    this.model = make("select", "", new Option("default", "default"));
    const label = make("label", "model", "Model for captions ", this.model);
    this.start = this.button("Start", "primary", () => this.begin());
    this.stop = this.button("Stop", "", () => this.end());
    this.again = this.button("Transcribe the recording", "", () => this.hand());
    this.stop.hidden = this.again.hidden = true;
    this.certain = make("div", "certain");
    this.certain.setAttribute("role", "log");
    this.certain.setAttribute("aria-label", "Captions");
    this.open = make("span", "open");
    this.told = make("p", "told", "Captions appear while you speak.");
    this.told.setAttribute("role", "status");
    const buttons = make("div", "buttons", this.start, this.stop, this.again);
    this.choices = make("div", "choices", this.seen.label, this.heard.label, label);
    this.captions = make("div", "captions", this.certain, this.open);
    this.captions.hidden = true; // until there may be some
    this.append(make("section", "avsr-camera", this.picture, this.captions, this.choices, buttons, this.told));
    this.fill();
  }

  disconnectedCallback() {
    this.release();
  }

  box(name, checked) {
    const input = document.createElement("input");
    Object.assign(input, { type: "checkbox", checked });
    return { input, label: make("label", "", input, ` ${name}`) };
  }

  button(text, name, action) {
    const button = make("button", name, text);
    button.type = "button";
    button.addEventListener("click", action);
    return button;
  }

  async fill() {
    const { models } = await ask("/avsr/models");
    this.model.replaceChildren(...models.map(([shown, name]) => new Option(shown, name)));
  }

  tell(text, failed = false) {
    this.told.textContent = text;
    this.told.classList.toggle("failed", failed);
  }

  async begin() {
    this.start.disabled = true; // a model may have to be loaded
    this.tell("Starting: the model is being loaded.");
    const wanted = { video: this.seen.input.checked, audio: this.heard.input.checked };
    if (wanted.video) wanted.video = { width: { ideal: 640 }, frameRate: { ideal: 25 } };
    try {
      this.devices = await navigator.mediaDevices.getUserMedia(wanted);
    } catch (error) {
      this.failed(new Error(`No camera or microphone can be used: ${error.message}`));
      return;
    }
    this.picture.srcObject = this.devices;
    this.picture.hidden = !wanted.video;
    this.captions.hidden = false;
    this.certain.replaceChildren();
    this.open.textContent = "";
    this.delays = [];
    this.again.hidden = true;
    this.dispatchEvent(new CustomEvent("began", { bubbles: true })); // an older result goes
    try {
      const body = { model: this.model.value, modality: "auto" };
      this.path = `/avsr/live/${(await ask("/avsr/live", JSON.stringify(body))).name}`;
      this.record(Boolean(wanted.video));
    } catch (error) {
      this.failed(error);
    }
  }

  record(video) {
    const type = (video ? KINDS : SOUND).find((kind) => MediaRecorder.isTypeSupported(kind));
    this.recorder = new MediaRecorder(this.devices, { mimeType: type });
    this.sent = Promise.resolve();
    this.tell("Starting to record.");
    this.recorder.ondataavailable = (event) => {
      // one after the other: the server takes them for one stream
      this.sent = this.sent.then(() => this.send(event.data));
    };
    this.recorder.onstart = () => {
      this.began = performance.now();
      this.tell("Listening.");
    };
    this.recorder.start(CHUNK_MS);
    this.line = make("p", "");
    this.certain.append(this.line);
    this.running(true);
    this.stop.focus();
  }

  async send(data) {
    if (!data.size || !this.path) return;
    try {
      this.show(await ask(this.path, data));
    } catch (error) {
      this.failed(error);
    }
  }

  show(news) {
    if (news.error) throw new Error(news.error);
    const now = (performance.now() - this.began) / 1000;
    for (const caption of news.captions) {
      for (const word of caption.final) {
        if (!word.glued) this.line.append(" ");
        this.line.append(make("span", `word ${word.colour}`, word.word));
        this.delays.push(now - word.end_s);
      }
      this.open.textContent = caption.partial.map((word) => word.word).join(" ");
      if (caption.ended && this.line.childElementCount) {
        this.line.prepend(make("span", "time", `${clock(caption.heard_s)} `));
        this.line = make("p", "");
        this.certain.append(this.line);
      }
    }
    this.certain.scrollTop = this.certain.scrollHeight;
    if (this.delays.length) {
      const middle = [...this.delays].sort((a, b) => a - b)[this.delays.length >> 1];
      const lips = news.unseen_s > 1 ? " Some lips were left out to keep up." : "";
      this.tell(`Words are certain ${middle.toFixed(1)} s after they were said.${lips}`);
    }
  }

  async end() {
    this.stop.disabled = true;
    const over = new Promise((resolve) => (this.recorder.onstop = resolve));
    if (this.recorder.state !== "inactive") {
      this.recorder.stop();
      await over;
    }
    await this.sent;
    try {
      const news = await ask(`${this.path}/end`, "{}");
      this.show(news);
      const { recording } = news;
      this.recording = recording;
      keep(this.path, () => this.recording === recording && this.isConnected);
      this.again.hidden = false;
      if (!this.delays.length) this.tell("Nothing was understood.");
    } catch (error) {
      this.failed(error);
    }
    this.release();
  }

  failed(error) {
    this.tell(error.message, true);
    this.release();
  }

  /** Lets the devices go. */
  release() {
    this.path = undefined;
    if (this.recorder?.state === "recording") this.recorder.stop();
    this.devices?.getTracks().forEach((track) => track.stop());
    this.picture.srcObject = null;
    this.picture.hidden = true;
    this.start.disabled = this.stop.disabled = false;
    this.running(false);
  }

  running(yes) {
    this.start.hidden = this.choices.hidden = yes;
    this.stop.hidden = !yes;
  }

  hand() {
    this.dispatchEvent(new CustomEvent("recorded", { detail: this.recording, bubbles: true }));
  }
}

customElements.define("avsr-camera", Camera);
