// The browser's half of UploadField (the kernel's half is upload.py): sends the file that is dropped or chosen.

const CHUNK_BYTES = 4_000_000;    // Jupyter's server closes the connection if a message is larger than 10 MB

function render({ model, el }) {
  const field = document.createElement("button"), input = document.createElement("input");
  field.className = "picture-field";
  field.textContent = "Drop a picture here, or click to choose one";
  Object.assign(input, { type: "file", accept: "image/*", hidden: true });

  async function send(file) {
    const bytes = await file.arrayBuffer();
    const size = bytes.byteLength;
    // The first chunk is always sent, so that an empty file is reported too.
    for (let offset = 0; offset === 0 || offset < size; offset += CHUNK_BYTES) {
      model.send({ name: file.name, offset, size }, undefined, [bytes.slice(offset, offset + CHUNK_BYTES)]);
    }
  }

  field.addEventListener("click", () => input.click());
  input.addEventListener("change", async () => {
    await send(input.files[0]);
    input.value = "";                   // so that the same file can be chosen again
  });
  for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
    field.addEventListener(kind, event => {
      event.preventDefault();           // otherwise the browser opens the picture in place of the notebook
      event.stopPropagation();
      field.classList.toggle("over", kind === "dragenter" || kind === "dragover");
      if (kind === "drop" && event.dataTransfer.files[0]) send(event.dataTransfer.files[0]);
    });
  }
  el.append(field, input);
}

export default { render };
