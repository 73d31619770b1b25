// The browser's half of the webcam widget (the kernel's half is widget.py). It owns the camera and draws the faces
// that Python finds.
//
// Only one frame is in flight at a time: it is sent as JPEG, and the next one, which is then the newest, is sent only
// when the answer has arrived. A widget has one camera, no matter how often it is displayed. There are many reasons
// for the camera to go off, and all of them end in stop().

const TICK_MS = 8;            // a tick follows a frame after this time, see shouldTick()
const TRIAL_FRAMES = 20;      // frames without ticks after each start, and then as many with them
const WARM_UP_FRAMES = 5;     // the first frames of the trial, which are not compared
const WINDOW_MS = 5000;       // latency and fps are measured over this time
const MAX_FAILURES = 5;       // after so many answers in a row with an error, the camera goes off
const LABEL_THRESHOLD = 0.7;  // a label with a lower probability gets a question mark, as in helpers.draw
const FACE_THRESHOLD = 0.9;   // a detection with a lower confidence shows it: it may not be a face
const CONSENT = "Start turns on this browser's camera. Its pictures are sent to the Python kernel of this notebook, which "
  + "looks for faces in them. Nothing is stored: Python keeps only the newest picture, in memory. "
  + "Please ask everyone the camera can see.";

// ---------------------------------------------------------------- what went wrong, and what to do about it

function whyNoCamera() {
  if (!window.isSecureContext) {
    const port = location.port || "80";
    return `The browser does not let this page use a camera, because it came over plain http from ${location.hostname}. `
      + `Use https, or run "ssh -L ${port}:localhost:${port} ${location.hostname}" on your own computer and open `
      + `http://localhost:${port} there.`;
  }
  const policy = document.permissionsPolicy ?? document.featurePolicy;
  if (policy && !policy.allowsFeature("camera")) {
    return "This viewer does not let notebooks use a camera. Open JupyterLab in a browser tab of its own.";
  }
  if (!navigator.mediaDevices?.getUserMedia) {
    return "This browser or viewer offers no camera access. Open the notebook in JupyterLab, in a recent version of "
      + "Chrome, Edge, Firefox or Safari.";
  }
  return "";
}

function explain(problem) {
  const sentences = {
    NotAllowedError: "Access to the camera was not allowed. Click the camera icon or the padlock next to the address, "
      + "and allow it there (and in the system's privacy settings, if need be), then press Retry. If the notebook is "
      + "shown inside an editor or another page, open JupyterLab in a browser tab of its own.",
    NotFoundError: "The browser finds no camera. Connect one, or switch it on, then press Retry.",
    NotReadableError: "The camera is in use by another program or tab. Close that one, then press Retry.",
    OverconstrainedError: "The camera can't deliver pictures of this size. Create the widget with a different size, "
      + "such as Webcam(width=640, height=480), then press Start.",
  };
  const other = `The camera did not start (${problem.name}: ${problem.message}). Close other programs that use it, `
    + "then press Retry.";
  return whyNoCamera() || (sentences[problem.name] ?? other);
}

// ---------------------------------------------------------------- the camera

function makeCamera(model) {
  const views = new Set();
  const video = document.createElement("video");     // frames are captured from this one; each view has its own
  video.muted = video.playsInline = true;
  let canvas = null, context = null;
  let stream = null;
  let session = 0;            // grows with each start and stop, so that code that waited can tell it is out of date
  let sent = null;            // the frame in flight: {number, time}
  let fresh = false;          // has the camera delivered a frame since the last one was sent?
  let number = Math.floor(Math.random() * 2 ** 40);  // answers reach other pages too, so numbers must be unique
  let failures = 0, answers = [], trial = [], timer = 0, hiddenTimer = 0;
  // What the views show. size: [width, height] of the frames that are sent; stats: {latency in seconds, fps}.
  const camera = { state: "off", text: CONSENT, failed: false, stream: null, faces: [], size: [16, 9], stats: null };

  // Tells the views and Python about a new state: "off", "starting" or "on".
  function report(state, text, failed) {
    Object.assign(camera, { state, text, failed });
    views.forEach(view => view.update());
    try {
      model.set("state", state);
      model.set("error", failed ? text : "");
      model.save_changes();
    } catch { /* the kernel is gone, so nobody needs the report */ }
  }

  function endStream(someStream) { someStream?.getTracks().forEach(track => track.stop()); }

  function median(list) { return [...list].sort((a, b) => a - b)[list.length >> 1]; }

  function stop(text = CONSENT, failed = false) {
    session += 1;
    clearInterval(timer);
    clearTimeout(hiddenTimer);
    document.removeEventListener("visibilitychange", watchPage);
    endStream(stream);
    stream = sent = camera.stream = video.srcObject = null;
    camera.faces = [];
    report("off", text, failed);
  }

  async function start() {
    if (camera.state !== "off") return;
    const mySession = ++session;
    report("starting", "Starting the camera. The browser may ask you for permission.", false);
    const timeout = model.get("start_timeout");
    const alarm = setTimeout(() => mySession === session && stop(`The camera did not start within ${timeout} seconds. `
      + "If the browser asks for permission, often next to the address, answer it. Close other programs that use the "
      + "camera, then press Retry.", true), timeout * 1000);
    try {
      const reason = whyNoCamera();
      if (reason) return stop(reason, true);
      const size = { width: { ideal: model.get("width") }, height: { ideal: model.get("height") } };
      const constraints = { video: { ...size, facingMode: "user" }, audio: false };
      const newStream = await navigator.mediaDevices.getUserMedia(constraints);
      if (mySession !== session) return endStream(newStream);        // stopped in the meantime
      stream = newStream;
      stream.getVideoTracks().forEach(track => track.addEventListener("ended", () => mySession === session
        && stop("The camera was unplugged or blocked. Connect it or allow it, then press Retry.", true)));
      video.srcObject = stream;
      await video.play();
      if (mySession !== session) return;                             // stop() has ended the stream
      canvas = new OffscreenCanvas(16, 16);
      context = canvas.getContext("2d");
      [sent, fresh, failures, answers, trial] = [null, false, 0, [], []];
      [camera.stream, camera.stats] = [stream, null];
      timer = setInterval(watchKernel, 200);
      document.addEventListener("visibilitychange", watchPage);
      watchPage();
      report("on", "", false);
      watchCamera(mySession);
    } catch (problem) {
      if (mySession === session) stop(explain(problem), true);
    } finally {
      clearTimeout(alarm);
    }
  }

  // A kernel that was restarted or shut down tells its widgets nothing, so silence is the only sign.
  function watchKernel() {
    const timeout = model.get("answer_timeout");
    if (sent && performance.now() - sent.time > timeout * 1000) {
      stop(`No answer from the kernel for ${timeout} seconds, so the camera was turned off. The kernel is busy, or it `
        + "was restarted or shut down. Wait until it is idle, then press Retry. After a restart, run all cells again.",
        true);
    }
  }

  function watchPage() {
    clearTimeout(hiddenTimer);
    if (!document.hidden) return;
    const timeout = model.get("hidden_timeout");
    hiddenTimer = setTimeout(() => stop(`The page was hidden for ${timeout} seconds, so the camera was turned off. `
      + "Press Start to turn it on again."), timeout * 1000);
  }

  // Sends each new frame of the camera, unless another one is in flight.
  function watchCamera(mySession) {
    const request = video.requestVideoFrameCallback ? f => video.requestVideoFrameCallback(f) : requestAnimationFrame;
    request(() => {
      if (mySession !== session) return;
      fresh = true;
      send();
      watchCamera(mySession);
    });
  }

  async function send() {
    if (sent || !fresh || !stream) return;
    const mySession = session;
    // The clock starts before the JPEG is made: from here on this frame is in flight, and its latency counts.
    const frame = sent = { number: ++number, time: performance.now() };
    fresh = false;
    try {
      const scale = Math.min(model.get("width") / video.videoWidth, model.get("height") / video.videoHeight, 1);
      const [width, height] = [video.videoWidth, video.videoHeight].map(side => Math.max(Math.round(side * scale), 1));
      if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
      context.drawImage(video, 0, 0, width, height);
      const jpeg = await canvas.convertToBlob({ type: "image/jpeg", quality: model.get("quality") });
      const bytes = await jpeg.arrayBuffer();
      if (mySession !== session) return;             // stopped in the meantime: nobody gets this frame
      camera.size = [width, height];
      // Not called "id": ipykernel 7 treats a message with an id as a question, and keeps it until it is answered.
      const content = { kind: "frame", number: frame.number, ...camera.stats };
      model.send(content, undefined, [bytes]);
      if (shouldTick()) setTimeout(() => { if (sent === frame) model.send({ kind: "tick" }); }, TICK_MS);
    } catch (problem) {
      const text = `A picture could not be sent to the kernel (${problem.message}).`;
      if (mySession === session) stop(`${text} Run this widget's cell again.`, true);
    }
  }

  // Jupyter's server holds an answer back until the browser has acknowledged the previous message. The browser delays
  // that by 40 ms, unless it has something to send, such as a tick. So a tick can halve the latency. But it is only
  // one message too many if the machine is busy, or if the server was told not to wait (jupyter_lab_config.py). That
  // is why each start tries both: the first frames go without ticks, the next ones with them, and the faster way is kept.
  function shouldTick() {
    if (trial.length < 2 * TRIAL_FRAMES) return trial.length >= TRIAL_FRAMES;
    return median(trial.slice(TRIAL_FRAMES)) < 0.9 * median(trial.slice(WARM_UP_FRAMES, TRIAL_FRAMES));
  }

  function receive(message) {
    if (message.kind === "stop") return stop();
    if (message.kind !== "answer" || message.number !== sent?.number) return;
    const now = performance.now();
    const latency = (now - sent.time) / 1000;
    answers = answers.filter(answer => now - answer.time < WINDOW_MS);
    answers.push({ time: now, latency });
    if (trial.length < 2 * TRIAL_FRAMES) trial.push(latency);
    sent = null;
    if (answers.length > 1) {
      const fps = 1000 * (answers.length - 1) / (now - answers[0].time);
      camera.stats = { latency: median(answers.map(answer => answer.latency)), fps };
    }
    if (message.error) {
      failures += 1;
      const text = `Python could not process the picture: ${message.error}`;
      if (failures >= MAX_FAILURES) {
        const off = `${failures} times in a row, so the camera was turned off`;
        return stop(`${text} (${off}). Fix the error, then press Retry.`, true);
      }
      if (text !== camera.text) report("on", text, true);
    } else if (!message.dropped) {
      failures = 0;
      camera.faces = message.faces;
      if (camera.failed) report("on", "", false);
    }
    views.forEach(view => view.draw());
    send();
  }

  return { camera, views, start, stop, receive };
}

// ---------------------------------------------------------------- one view of it

function make(tag, className, parent, text = "") {
  const element = document.createElement(tag);
  element.className = className;
  element.textContent = text;
  parent?.append(element);
  return element;
}

function makeView(el, camera, start, stop) {
  const root = make("div", "webcam", el);
  const row = make("div", "webcam-row", root);
  const button = make("button", "webcam-button", row);
  const on = make("span", "webcam-on", row, "camera on");
  const stats = make("span", "webcam-stats", row);
  const text = make("p", "webcam-text", root);
  text.setAttribute("role", "status");
  const show = make("div", "webcam-show", root);
  const picture = make("div", "webcam-picture", show);
  const video = make("video", "", picture);
  video.muted = video.playsInline = video.autoplay = true;
  const canvas = make("canvas", "", picture);
  const emotions = make("div", "webcam-emotions", show);
  button.addEventListener("click", () => camera.state === "off" ? start() : stop());

  function update() {
    button.textContent = camera.state !== "off" ? "Stop" : camera.failed ? "Retry" : "Start";
    on.hidden = show.hidden = camera.state !== "on";
    text.textContent = camera.text;
    text.classList.toggle("webcam-error", camera.failed);
    if (video.srcObject !== camera.stream) video.srcObject = camera.stream;
    draw();
  }

  function draw() {
    const [width, height] = camera.size;
    picture.style.width = `${width}px`;
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    const context = canvas.getContext("2d");
    context.clearRect(0, 0, width, height);
    for (const face of camera.faces) drawFace(context, face, width);
    const area = face => face.box[2] * face.box[3];
    drawBars([...camera.faces].sort((a, b) => area(b) - area(a))[0]);
    const known = camera.state === "on" && camera.stats;
    stats.textContent = known ? `${known.fps.toFixed(0)} fps, latency ${(1000 * known.latency).toFixed(0)} ms` : "";
  }

  // CSS mirrors the video but not the canvas above it: so boxes are mirrored here, and text stays readable.
  function drawFace(context, face, width) {
    const [x, y, w, h] = face.box;
    const left = width - x - w;
    context.strokeStyle = context.fillStyle = "#ffc800";
    context.lineWidth = 2;
    context.strokeRect(left, y, w, h);
    if (!face.label) return;
    context.font = "bold 16px sans-serif";
    const title = titleOf(face);
    const top = y >= 22 ? y - 22 : y;
    context.fillRect(left - 1, top, context.measureText(title).width + 8, 22);
    context.fillStyle = "#000";
    context.fillText(title, left + 3, top + 16);
  }

  function drawBars(face) {
    const probabilities = Object.entries(face?.emotions ?? {});
    if (emotions.childElementCount !== probabilities.length + 1) {
      emotions.replaceChildren(make("p", "webcam-label"));
      for (const _ of probabilities) {
        const line = make("div", "webcam-emotion", emotions);
        make("span", "", line);
        make("div", "webcam-fill", make("div", "webcam-track", line));
        make("span", "", line);
      }
    }
    emotions.firstChild.textContent = !face ? "no face found" : face.label ? titleOf(face) : "";
    probabilities.forEach(([name, probability], i) => {
      const [first, track, last] = emotions.children[i + 1].children;
      first.textContent = name;
      track.firstChild.style.width = `${100 * probability}%`;
      last.textContent = `${Math.round(100 * probability)}%`;
    });
  }

  return { update, draw };
}

function titleOf(face) {
  const probability = face.emotions[face.label];
  const label = `${face.label}${probability < LABEL_THRESHOLD ? "?" : ""} ${Math.round(100 * probability)}%`;
  return face.confidence < FACE_THRESHOLD ? `${label} (face ${Math.round(100 * face.confidence)}%)` : label;    // without a confidence, only the label
}

// ---------------------------------------------------------------- called by anywidget: once per widget, once per view

export default () => {
  let shared = null;
  return {
    initialize({ model }) {
      shared = makeCamera(model);
      model.on("msg:custom", shared.receive);
      if (model.get("state") !== "off") {           // left over from a page that was closed with the camera on
        model.set({ state: "off", error: "" });
        model.save_changes();
      }
      return () => {
        model.off("msg:custom", shared.receive);
        shared.stop();
      };
    },
    render({ el }) {
      const { camera, views, start, stop } = shared;
      const view = makeView(el, camera, start, stop);
      views.add(view);
      view.update();
      return () => {
        views.delete(view);
        if (views.size === 0) stop();
      };
    },
  };
};
