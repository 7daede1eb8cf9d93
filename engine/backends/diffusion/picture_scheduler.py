"""The thread in which pictures are drawn: who is next, what must be loaded, one step after another."""

import gc
import logging
import queue
import time
from dataclasses import dataclass, field

from engine.backends.diffusion.decode import SpoiltPictureError, decode
from engine.backends.diffusion.denoise import Canvas, build_scheduler, denoise, passes_of
from engine.backends.diffusion.loras import Lora
from engine.backends.diffusion.picture_job import PictureJob
from engine.backends.diffusion.pipeline import ResidentPipeline, key_of, load_resident
from engine.backends.diffusion.prompt_encoder import notes_on, tokens_of
from engine.backends.memory import is_out_of_memory
from engine.backends.model_loading import expert_of, find_adapter
from engine.plan.cards import Expert, Registry
from engine.settings import Settings
from engine.weights.bases import fetch, fetch_pipeline, find_base

TOGETHER = 4  # pictures in one pass
ON_A_GPU = 8
PIXELS = 1 << 20  # of each of them, on average
SPOILT = (
    "The picture came out empty, and a second try did not help. Please try another seed, or describe "
    "it in other words."
)
NO_ROOM = (
    "There is not enough memory here for a picture of this size. Please ask for a smaller one: "
    "for example --size {smaller}."
)

OUT_OF_RANGE = (
    "The {part} ran out of its numbers' range. Set PASTICHE_PICTURE_PRECISION to bf16 or fp32, or "
    'name the VAE "madebyollin/sdxl-vae-fp16-fix" on the card.'
)

log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class PictureScheduler:
    _settings: Settings
    _registry: Registry
    _arrived: "queue.SimpleQueue[PictureJob]"
    _line: list[PictureJob] = field(default_factory=list)  # some of the first's may be under way
    _canvases: list[tuple[PictureJob, Canvas]] = field(default_factory=list)  # of one manner
    _resident: tuple[tuple[str, ...], ResidentPipeline] | None = None

    def work(self) -> None:
        import torch

        with torch.no_grad():
            while self._take_in():
                self._admit()
                if self._canvases:
                    self._step()

    def _take_in(self) -> bool:
        """Take new jobs in and drop cancelled ones; tell whether there is work."""
        while not self._arrived.empty():
            self._line.append(self._arrived.get())
        for picture_job in {*self._line, *(p for p, _ in self._canvases)}:
            if picture_job.over:
                picture_job.cancel()
        self._clear()
        return bool(self._line or self._canvases)

    def _clear(self) -> None:
        self._line = [p for p in self._line if not p.done]
        self._canvases = [(p, c) for p, c in self._canvases if not (p.done or c.ready)]

    def _admit(self) -> None:
        while self._line:
            picture_job = self._line[0]
            try:
                manner = self._manner(picture_job)
                if self._canvases and self._manner(self._canvases[0][0]) != manner:
                    return
                if not picture_job.canvases:
                    self._prepare(picture_job)
                if self._must_wait(picture_job) or not self._begin(picture_job):
                    return
                self._line.pop(0)
            except Exception as error:  # noqa: BLE001 - one job's fault is sent to it, others go on
                picture_job.channel.send(error)
                self._clear()

    def _manner(self, picture_job: PictureJob) -> tuple[object, ...]:
        """Name the base and size that jobs must share to be drawn together."""
        weights = self._registry.weights(expert_of(self._registry, picture_job.job))
        return key_of(weights), picture_job.order.width, picture_job.order.height

    def _must_wait(self, picture_job: PictureJob) -> bool:
        """Tell whether those under way meet other LoRAs, and one of all these must be alone."""
        met = {p.strengths for p, _ in self._canvases} | {picture_job.strengths}
        return len(met) > 1 and any(self._loaded().loras[n].alone for row in met for n, _ in row)

    def _begin(self, picture_job: PictureJob) -> bool:
        """Start its waiting pictures; tell whether all of them are under way."""
        resident = self._loaded()
        pipeline = resident.pipeline
        for canvas in picture_job.canvases:
            if canvas.begun:
                continue
            if len(self._canvases) >= self._room(picture_job):
                return False
            channels = pipeline.unet.config.in_channels
            canvas.start(pipeline.vae_scale_factor, channels, resident.device)
            self._canvases.append((picture_job, canvas))
        return True

    def _room(self, picture_job: PictureJob) -> int:
        if self._loaded().low:
            return 1
        area = picture_job.order.width * picture_job.order.height
        return max(1, min(self.together, self.together * PIXELS // area))

    @property
    def together(self) -> int:
        on_a_gpu = self._resident is not None and self._resident[1].device == "cuda"
        return ON_A_GPU if on_a_gpu else TOGETHER

    def _prepare(self, picture_job: PictureJob) -> None:
        job, order = picture_job.job, picture_job.order
        expert = expert_of(self._registry, job)
        picture_job.channel.send_loading(expert.title)
        resident = self.fetch(expert)
        loras = self._loras(resident, expert, picture_job.scale, order.speed)
        picture_job.strengths = tuple((lora.name, strength) for lora, strength in loras)
        changing = tuple((lora.name, strength) for lora, strength in loras if lora.words)
        resident.activate(changing)  # the text encoders' part; UNet rows meet theirs at each step
        if picture_job.over:
            return picture_job.cancel()
        tokenizers = (resident.pipeline.tokenizer, resident.pipeline.tokenizer_2)
        drawing = self._registry.drawing(expert)
        picture_job.notes += notes_on(job.prompt, order.negative, drawing, tokenizers)
        picture_job.tokens = tokens_of(job.prompt, tokenizers)
        own = next((lora.digest for lora, _ in loras if lora.name.startswith("expert ")), "")
        picture_job.digests = (resident.digest, own)
        fast = any(lora.name.startswith("speed ") for lora, _ in loras)
        encoder, guided = resident.encoder, order.guidance > 1
        schedule = resident.pipeline.scheduler, order.scheduler, order.steps, resident.device
        picture_job.canvases = [
            Canvas(
                seed=job.seed + number,
                size=(order.width, order.height),
                words=encoder.encode(job.prompt, changing),
                away=encoder.leave_out(order.negative, changing) if guided else None,
                guidance=order.guidance,
                scheduler=build_scheduler(*schedule, fast=fast),
                wanted=order.steps,
            )
            for number in range(order.count)
        ]
        return picture_job.start()

    def _loaded(self) -> ResidentPipeline:
        assert self._resident is not None
        return self._resident[1]

    def fetch(self, expert: Expert) -> ResidentPipeline:
        weights = self._registry.weights(expert)
        key = key_of(weights)
        if self._resident is None or self._resident[0] != key:
            fetch_pipeline(find_base(weights.base, self._settings.models))  # or the old one stays
            self._resident = None  # it makes room first
            _free()
            self._resident = (key, load_resident(weights, self._settings))
        return self._loaded()

    def _loras(
        self, resident: ResidentPipeline, expert: Expert, scale: float, speed: float
    ) -> list[tuple[Lora, float]]:
        weights = self._registry.weights(expert)
        loras: list[tuple[Lora, float]] = []
        if (place := find_adapter(weights)) is not None:
            loras.append((resident.lora(f"expert {expert.name}", place, weights.digest), scale))
        if weights.speed:  # names with a space: torch has others for its own ("children", "half")
            name = "speed " + weights.speed.replace(".", " ")
            loras.append((resident.lora(name, fetch(weights.speed)), speed))
        return [(lora, strength) for lora, strength in loras if strength]

    def _step(self) -> None:
        try:
            resident = self._loaded()
            passes = passes_of([canvas for _, canvas in self._canvases])
            strengths = {canvas: picture_job.strengths for picture_job, canvas in self._canvases}
            resident.meet([strengths[canvas] for canvas, _ in passes])
            denoise(resident.pipeline.unet, passes)
            for picture_job, canvas in self._canvases:
                if canvas.ready:
                    self._decode(picture_job, canvas)
            for picture_job in {p for p, _ in self._canvases if not p.done}:
                picture_job.show(self._loaded().projection, time.monotonic())
                if len(picture_job.drawn) == picture_job.order.count:
                    picture_job.finish()
        except Exception as error:  # noqa: BLE001 - sent to the jobs it concerns
            self._failed(error)
        self._clear()

    def _decode(self, picture_job: PictureJob, canvas: Canvas) -> None:
        resident = self._loaded()
        if picture_job.over:
            picture_job.cancel()
            return
        number = picture_job.canvases.index(canvas)
        try:
            picture_job.drawn[number] = decode(resident.pipeline.vae, canvas.latents)
        except SpoiltPictureError as error:
            picture_job.fail(SPOILT, OUT_OF_RANGE.format(part=error.part))

    def _failed(self, error: Exception) -> None:
        """Draw again, one at a time, after memory ran out once; tell any other error."""
        if not is_out_of_memory(error):
            for picture_job, _ in self._canvases:
                picture_job.channel.send(error)
            return
        again = list(dict.fromkeys(p for p, _ in self._canvases if not p.done))
        del error
        _free()
        if self._loaded().low:
            for picture_job in again:
                edge = min(picture_job.order.width, picture_job.order.height) // 2 // 8 * 8
                reason = "Out of memory, with PASTICHE_PICTURE_MEMORY=low in force."
                picture_job.fail(NO_ROOM.format(smaller=max(64, edge)), reason)
            return
        log.warning("out of memory; going on with little of it")
        self._loaded().save_memory()
        for picture_job, canvas in self._canvases:
            if not canvas.ready or picture_job.canvases.index(canvas) not in picture_job.drawn:
                canvas.begun = False
        self._line = again + [p for p in self._line if p not in again]
        self._canvases = []


def _free() -> None:
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
