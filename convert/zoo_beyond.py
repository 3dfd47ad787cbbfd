"""The zoo beyond classifiers: several inputs and outputs, integers, dictionaries, sequences and free sizes."""

from portproof import Input, Port

CRNN = Port(
    name="crnn",
    paddle="paddle_impl.crnn:CRNN",
    torch="torch_impl.crnn:CRNN",
    inputs={"line": Input(shape=("batch", 1, 32, "width"), sizes={"width": 96})},
    outputs=("logits",),
    training={"paddle": "paddle_impl.crnn:Training", "torch": "torch_impl.crnn:Training"},
)

UNET = Port(
    name="unet",
    paddle="paddle_impl.unet:UNet",
    torch="torch_impl.unet:UNet",
    inputs={"image": Input(shape=("batch", 3, "height", "width"), sizes={"height": 64, "width": 96})},
    outputs=("mask",),
)

_LEVELS = {"p3": (16, 24), "p4": (8, 12), "p5": (4, 6)}
FCOS_HEAD = Port(
    name="fcos_head",
    paddle="paddle_impl.detector:FCOSHead",
    torch="torch_impl.detector:FCOSHead",
    inputs={level: Input(shape=("batch", 32, *size)) for level, size in _LEVELS.items()},
    outputs=("scores", "boxes", "centreness"),
)

_TOKENS = {"shape": ("batch", "length"), "dtype": "int64", "sizes": {"length": 12}}
BERT = Port(
    name="bert",
    paddle="paddle_impl.bert:Encoder",
    torch="torch_impl.bert:Encoder",
    inputs={
        "input_ids": Input(**_TOKENS, range=(1, 119)),
        "token_type_ids": Input(**_TOKENS, values=(0, 1)),
        "attention_mask": Input(**_TOKENS, values=(0, 1, 1, 1)),
    },
    outputs=("hidden", "pooled"),
    call="keyword",
)

_CACHE = Input(shape=("batch", 2, "past", 8), sizes={"past": 9})
DECODER = Port(
    name="decoder",
    paddle="paddle_impl.decoder:Decoder",
    torch="torch_impl.decoder:Decoder",
    inputs={
        "tokens": Input(("batch", "length"), "int64", range=(0, 159), sizes={"length": 3}),
        "positions": Input(("batch", "length"), "int64", range=(9, 300), sizes={"length": 3}),
        **dict.fromkeys(("k0", "v0", "k1", "v1"), _CACHE),
    },
    outputs=("logits", "next_k0", "next_v0", "next_k1", "next_v1"),
)

DIFFUSION_BLOCK = Port(
    name="diffusion_block",
    paddle="paddle_impl.diffusion:Block",
    torch="torch_impl.diffusion:Block",
    inputs={
        "sample": Input(("batch", 32, "height", "width"), sizes={"height": 8, "width": 12}),
        "timestep": Input(("batch",), "int64", range=(0, 999)),
        "context": Input(("batch", "tokens", 24), sizes={"tokens": 7}),
    },
    outputs=("noise",),
)
