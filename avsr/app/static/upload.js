// gradio sends a file as soon as it is chosen. Whether there is room for it is asked before, and
// what the server has to say about it is shown without the number of its answer.

import { ask } from "./player.js";

const send = window.fetch;

async function sent(address, options) {
  const files = options.body.getAll("files");
  await ask(`/avsr/room?size=${files.reduce((sum, file) => sum + file.size, 0)}`);
  const answer = await send(address, options);
  if (!answer.ok) throw new Error(await answer.text());
  return answer;
}

window.fetch = (address, options) => {
  const isUpload = options?.body instanceof FormData && String(address).includes("/gradio_api/upload");
  if (!isUpload) return send(address, options);
  // of an answer that is no JSON gradio shows the error as it is
  return sent(address, options).catch((error) => ({ ok: true, json: () => Promise.reject(error) }));
};
