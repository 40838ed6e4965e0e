"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const find = (id) => document.getElementById(id);
const player = find("player"), scroller = find("scroller"), head = find("head");
const panel = document.querySelector("section.word");
const sheets = [...document.querySelectorAll("[data-sheet]")];
const spectra = [...document.querySelectorAll(".track.spectrogram .tile")];
const AROUND_S = 0.04; // played before and after a word
let chosen = -1, until = null, follow = true;

// ---- a word

function places(number) {
  return document.querySelectorAll(`[data-word="${number}"]`);
}

function choose(number, play = true) {
  if (!data.words.length) return;
  number = Math.max(0, Math.min(number, data.words.length - 1));
  for (const place of places(chosen)) {
    place.classList.remove("on");
    place.removeAttribute("aria-current");
  }
  chosen = number;
  for (const place of places(chosen)) place.classList.add("on");
  const button = document.querySelector(`.said[data-word="${number}"]`);
  button.setAttribute("aria-current", "true");
  // While all of it plays nobody is told of each word, and who scrolled away is left alone.
  panel.setAttribute("aria-live", play ? "polite" : "off");
  show(data.words[number]);
  if (play) {
    follow = true;
    say(data.words[number]);
  }
  if (follow) centre(data.words[number].start_s);
}

function say(word) {
  player.currentTime = Math.max(0, word.start_s - AROUND_S);
  until = word.end_s + AROUND_S;
  player.play().catch(() => {});
}

function percent(share) {
  return `${Math.round(100 * share)}\u00a0%`;
}

function show(word) {
  find("none").hidden = true;
  find("chosen").hidden = false;
  find("text").textContent = word.word;
  find("when").textContent = `${word.start_s.toFixed(2)} to ${word.end_s.toFixed(2)} s`;
  find("sureness").textContent = `${percent(word.confidence)} sure`;
  find("sure").style.width = `${100 * word.confidence}%`;
  const lips = 1 - word.audio_weight;
  find("share").textContent = `${percent(word.audio_weight)} heard, ${percent(lips)} lip-read`;
  find("heard").style.width = `${100 * word.audio_weight}%`;
  find("meaning").textContent = word.meaning + (word.source ? `, by ${word.source}` : "");
  drawLips(word);
  drawSound(word);
}

// The window that a time lies in, and the time since its begin.
function windowAt(time) {
  const number = Math.min(Math.floor(time / data.window_s), data.windows.length - 1);
  return [number, time - data.windows[number].start_s];
}

function drawLips(word) {
  const canvas = find("lips");
  if (!canvas) return;
  const first = Math.floor(word.start_s * data.fps);
  const count = Math.max(1, Math.ceil(word.end_s * data.fps) - first);
  const columns = Math.min(count, 8), size = data.crop;
  canvas.width = columns * size;
  canvas.height = Math.ceil(count / columns) * size;
  const pen = canvas.getContext("2d");
  for (let i = 0; i < count; i++) {
    const [number, since] = windowAt((first + i + 0.5) / data.fps);
    const sheet = sheets[number], frame = Math.floor(since * data.fps);
    if (!sheet.naturalWidth || frame >= data.windows[number].frames) continue;
    const left = (frame % data.columns) * size, top = Math.floor(frame / data.columns) * size;
    const x = (i % columns) * size, y = Math.floor(i / columns) * size;
    pen.drawImage(sheet, left, top, size, size, x, y, size, size);
  }
  // Where there are no lips the crops are black.
  const light = pen.getImageData(0, 0, canvas.width, canvas.height).data;
  canvas.hidden = !light.some((value, i) => i % 4 < 3 && value > 16);
}

function drawSound(word) {
  const canvas = find("sound");
  if (!canvas) return;
  const around = 0.1, begin = Math.max(0, word.start_s - around), end = word.end_s + around;
  canvas.width = 480;
  canvas.height = 110;
  const pen = canvas.getContext("2d"), scale = canvas.width / (end - begin);
  for (const tile of spectra) {
    const start = parseFloat(tile.style.left) / data.scale;
    const length = parseFloat(tile.style.width) / data.scale;
    if (start + length < begin || start > end) continue;
    pen.drawImage(tile, (start - begin) * scale, 0, length * scale, canvas.height);
  }
  pen.fillStyle = "rgb(255 255 255 / 0.8)";
  for (const edge of [word.start_s, word.end_s]) {
    pen.fillRect((edge - begin) * scale, 0, 1, canvas.height);
  }
}

// ---- time

function centre(time) {
  const left = time * data.scale - scroller.clientWidth * 0.35;
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  scroller.scrollTo({ left, behavior: calm ? "auto" : "smooth" });
}

function tick() {
  const time = player.currentTime, x = time * data.scale;
  head.style.transform = `translateX(${x}px)`;
  if (until !== null && time >= until) {
    player.pause();
    until = null;
  }
  if (!player.paused && until === null && follow) {
    const seen = x - scroller.scrollLeft;
    if (seen < 0 || seen > scroller.clientWidth * 0.85) centre(time);
  }
  mark(time);
  requestAnimationFrame(tick);
}

// The word that is being said is marked while the recording plays.
function mark(time) {
  if (player.paused || until !== null) return;
  const now = data.words.findIndex((word) => word.start_s <= time && time < word.end_s);
  if (now >= 0 && now !== chosen) choose(now, false);
}

// ---- what people do

document.addEventListener("click", (event) => {
  const place = event.target.closest("[data-word]");
  if (place) {
    choose(Number(place.dataset.word));
  } else if (event.target.closest("#tracks")) {
    const left = find("tracks").getBoundingClientRect().left;
    until = null;
    player.currentTime = (event.clientX - left) / data.scale;
  }
});
find("before").addEventListener("click", () => choose(chosen - 1));
find("after").addEventListener("click", () => choose(chosen + 1));
find("again").addEventListener("click", () => choose(Math.max(chosen, 0)));
find("slow").addEventListener("click", () => {
  const slow = player.playbackRate === 1;
  player.playbackRate = slow ? 0.5 : 1;
  find("slow").setAttribute("aria-pressed", String(slow));
});
scroller.addEventListener("wheel", () => { follow = false; }, { passive: true });
scroller.addEventListener("touchmove", () => { follow = false; }, { passive: true });
player.addEventListener("play", () => { follow = true; });

const KEYS = {
  " ": () => { until = null; player.paused ? player.play() : player.pause(); },
  ArrowLeft: () => choose(chosen - 1),
  ArrowRight: () => choose(chosen + 1),
  Enter: () => choose(Math.max(chosen, 0)),
  s: () => find("slow").click(),
};
document.addEventListener("keydown", (event) => {
  const own = event.target === player || (event.target.closest("button") && " Enter".includes(event.key));
  if (own || event.ctrlKey || event.metaKey || event.altKey || !KEYS[event.key]) return;
  event.preventDefault();
  KEYS[event.key]();
});

// A link may name a word: page.html#word-3.
function linked() {
  const found = /^#word-(\d+)$/.exec(location.hash);
  if (found) choose(Number(found[1]) - 1, false);
}
addEventListener("hashchange", linked);
addEventListener("load", linked);
requestAnimationFrame(tick);
