"""The thread in which pictures are drawn: who is next, what must be loaded, one step after another."""

import gc
import logging
import queue
import time
from pathlib import Path

from engine.backends.diffusion.decode import SpoiltPictureError, decode
from engine.backends.diffusion.denoise import Canvas, denoise
from engine.backends.diffusion.loras import Lora, wear
from engine.backends.diffusion.noise_schedulers import build_scheduler
from engine.backends.diffusion.picture_job import PictureJob
from engine.backends.diffusion.pipeline import ResidentPipeline, key_of, load_resident
from engine.backends.diffusion.prompt_encoder import notes_on, tokens_of
from engine.errors import ModelError
from engine.plan.cards import Expert, Registry
from engine.settings import Settings
from engine.weights.bases import fetch

TOGETHER = 4  # pictures in one pass
PIXELS_TOGETHER = 4 << 20  # and how many pixels: four of 1024 x 1024
SPOILT = (
    "The picture came out empty, and a second try did not help. Please try another seed, or describe "
    "it in other words."
)
NO_ROOM = (
    "There is not enough memory here for a picture of this size. Please ask for a smaller one: "
    "for example --size {smaller}."
)

log = logging.getLogger(__name__)


class PictureScheduler:
    """Schedule pictures in the backend's one thread; jobs come in through the inbox."""

    def __init__(
        self, settings: Settings, registry: Registry, inbox: "queue.SimpleQueue[PictureJob]"
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._inbox = inbox
        self._line: list[PictureJob] = []  # accepted; some of the first's pictures may be under way
        self._canvases: list[tuple[PictureJob, Canvas]] = []  # under way, of one manner
        self._resident: tuple[tuple[str, ...], ResidentPipeline] | None = None

    def work(self) -> None:
        import torch

        with torch.no_grad():
            while self._look_in():
                self._admit()
                if self._canvases:
                    self._step()

    def _look_in(self) -> bool:
        """Take new jobs in and drop cancelled ones; tell whether there is work."""
        while not self._inbox.empty():
            self._line.append(self._inbox.get())
        for commission in {*self._line, *(c for c, _ in self._canvases)}:
            if commission.over:
                commission.cancel()
        self._clear()
        return bool(self._line or self._canvases)

    def _clear(self) -> None:
        self._line = [c for c in self._line if not c.told]
        self._canvases = [(c, canvas) for c, canvas in self._canvases if not c.told]

    def _admit(self) -> None:
        """Start as many pictures from the front of the line as may be drawn together."""
        while self._line:
            commission = self._line[0]
            if self._canvases and self._canvases[0][0].manner != commission.manner:
                return
            try:
                if not commission.canvases:
                    self._prepare(commission)
                if not self._begin(commission):
                    return
                self._line.pop(0)
            except Exception as error:  # noqa: BLE001 - one job's fault is told to it, others go on
                commission.throw(error)
                self._clear()

    def _begin(self, commission: PictureJob) -> bool:
        """Start its waiting pictures; tell whether all of them are under way."""
        resident = self._at_hand()
        pipeline = resident.pipeline
        for canvas in commission.canvases:
            if canvas.begun:
                continue
            if len(self._canvases) >= self._room(commission):
                return False
            channels = pipeline.unet.config.in_channels
            canvas.start(pipeline.vae_scale_factor, channels, resident.device)
            self._canvases.append((commission, canvas))
        return True

    def _room(self, commission: PictureJob) -> int:
        if self._at_hand().low:
            return 1
        area = commission.order.width * commission.order.height
        return max(1, min(TOGETHER, PIXELS_TOGETHER // area))

    def _prepare(self, commission: PictureJob) -> None:
        """Load base and LoRAs, encode the prompt, make canvases. Raises ModelError."""
        job, order = commission.job, commission.order
        expert = self._registry.named(job.expert)
        if expert is None:
            raise ModelError(f"This worker has no expert {job.expert!r}; restart it.")
        commission.load(f"getting {expert.title} ready")
        resident, worn, fast = self._dressed(expert, commission.scale, order.speed)
        if commission.over:
            return commission.cancel()
        tokenizers = (resident.pipeline.tokenizer, resident.pipeline.tokenizer_2)
        drawing = self._registry.drawing(expert)
        commission.notes += notes_on(job.prompt, order.negative, drawing, tokenizers)
        commission.tokens = tokens_of(job.prompt, tokenizers)
        own = resident.loras.get(expert.name)
        commission.digests = (resident.digest, own.digest if own and commission.scale else "")
        encoder, guided = resident.encoder, order.guidance > 1
        for number in range(order.count):
            commission.canvases.append(
                Canvas(
                    seed=job.seed + number,
                    size=(order.width, order.height),
                    words=encoder.encode(job.prompt, worn),
                    away=encoder.leave_out(order.negative, worn) if guided else None,
                    guidance=order.guidance,
                    scheduler=build_scheduler(
                        resident.pipeline.scheduler,
                        order.scheduler,
                        order.steps,
                        resident.device,
                        fast=fast,
                    ),
                    wanted=order.steps,
                )
            )
        return commission.start()

    def _at_hand(self) -> ResidentPipeline:
        assert self._resident is not None
        return self._resident[1]

    def fetch(self, expert: Expert) -> ResidentPipeline:
        """Give the expert's base, from memory or from disk. Raises ModelError."""
        weights = self._registry.weights(expert)
        key = key_of(weights)
        if self._resident is None or self._resident[0] != key:
            self._resident = None  # the old one makes room first
            _free()
            self._resident = (key, load_resident(weights, self._settings))
        return self._at_hand()

    def _dressed(
        self, expert: Expert, scale: float, speed: float
    ) -> tuple[ResidentPipeline, object, bool]:
        """The base wearing exactly the expert's LoRAs; also which of them change the words, and
        whether a few-step one is among them."""
        resident = self.fetch(expert)
        weights = self._registry.weights(expert)
        worn: dict[str, float] = {}
        loras: list[Lora] = []
        place = _place(weights.adapter, weights.revision, weights.digest)
        if place is not None:
            loras.append(resident.adopt(expert.name, place, weights.digest))
            worn[expert.name] = scale
        if weights.speed:
            name = "speed " + weights.speed.replace(".", " ")  # no expert's name has a space
            loras.append(resident.adopt(name, fetch(weights.speed)))
            worn[name] = speed
        worn = {name: strength for name, strength in worn.items() if strength}
        wear(resident.pipeline, worn)
        changing = tuple((x.name, worn[x.name]) for x in loras if x.words and x.name in worn)
        return resident, changing, any(name != expert.name for name in worn)

    def _step(self) -> None:
        """Take one step of everything under way, then finish what is ready."""
        try:
            denoise(self._at_hand().pipeline.unet, [canvas for _, canvas in self._canvases])
            for commission, canvas in self._canvases:
                if canvas.ready:
                    self._decode(commission, canvas)
        except Exception as error:  # noqa: BLE001 - told to the jobs it concerns
            self._failed(error)
        self._tell()

    def _decode(self, commission: PictureJob, canvas: Canvas) -> None:
        resident = self._at_hand()
        if commission.over:
            return commission.cancel()
        try:
            number = commission.canvases.index(canvas)
            commission.drawn[number] = decode(
                resident.pipeline.vae, canvas.latents, resident.decoder
            )
        except SpoiltPictureError as error:
            reason = (
                f"The {error.part} ran out of its numbers' range. Set PASTICHE_PICTURE_PRECISION to "
                'bf16 or fp32, or name the VAE "madebyollin/sdxl-vae-fp16-fix" on the card.'
            )
            return commission.fail(SPOILT, reason)
        return None

    def _tell(self) -> None:
        now = time.monotonic()
        for commission in {c for c, _ in self._canvases if not c.told}:
            commission.show(self._at_hand().projection, now)
            if len(commission.drawn) == commission.order.count:
                commission.finish()
        self._canvases = [(c, x) for c, x in self._canvases if not x.ready]
        self._clear()

    def _failed(self, error: Exception) -> None:
        """Draw again, one at a time, after memory ran out once; tell any other error."""
        if not is_out_of_memory(error):
            for commission, _ in self._canvases:
                commission.throw(error)
            return
        again = list(dict.fromkeys(c for c, _ in self._canvases if not c.told))
        del error
        _free()
        if self._at_hand().low:
            for commission in again:
                smaller = max(
                    64, min(commission.order.width, commission.order.height) // 2 // 8 * 8
                )
                reason = "Out of memory, with PASTICHE_PICTURE_MEMORY=low in force."
                commission.fail(NO_ROOM.format(smaller=smaller), reason)
            return
        log.warning("out of memory; going on with little of it")
        self._at_hand().spare()
        for commission, canvas in self._canvases:
            if not canvas.ready or commission.canvases.index(canvas) not in commission.drawn:
                canvas.begun = False
        self._line = again + [c for c in self._line if c not in again]
        self._canvases = []


def _place(adapter: str, revision: str, digest: str) -> Path | None:
    """Find the expert's own LoRA; None when its card has none, or one still to be trained."""
    if not adapter:
        return None
    place = Path(adapter)
    if not place.is_absolute():
        place = fetch(adapter, revision)
    if not place.exists():
        if digest:
            raise ModelError(f"The LoRA {place} is on its card but not on disk. Add it anew.")
        return None
    return place


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether memory ran out, by whatever name the device has for it."""
    import torch

    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    words = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, RuntimeError) and any(word in str(error) for word in words)


def _free() -> None:
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
