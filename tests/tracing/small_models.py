"""Small versions of the kinds of nets that people train; each function makes a step on a device.

A step takes `mark`, which it calls at the ends of its phases.
"""

import contextlib

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from onecard.tracing.fake_cuda.disguise import disguised
from onecard.tracing.fake_cuda.parameters import movable_parameters


@contextlib.contextmanager
def plain():
    """As on a card: libraries do not see the fakes, and no oneDNN kernels with workspaces of their own."""
    before = torch._C._get_mkldnn_enabled()
    torch._C._set_mkldnn_enabled(False)
    try:
        with movable_parameters(), disguised():
            yield
    finally:
        torch._C._set_mkldnn_enabled(before)


class Residual(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.last = nn.BatchNorm2d(width)

    def forward(self, x):
        y = F.relu(self.norm(self.first(x)), inplace=True)
        return F.relu(x + self.last(self.second(y)))


class Block(nn.Module):
    def __init__(self, width, heads, dropout=0.0):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.norm, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = (y.view(b, t, self.heads, -1).transpose(1, 2) for y in self.qkv(self.norm(x)).split(c, 2))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + F.dropout(self.out(y.transpose(1, 2).reshape(b, t, c)), self.dropout)
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class GPT(nn.Module):
    def __init__(self, layers=2, width=32, heads=2, vocabulary=64, tokens=16, dropout=0.0, reentrant=None):
        super().__init__()
        self.token, self.place = nn.Embedding(vocabulary, width), nn.Embedding(tokens, width)
        self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(layers))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False)
        self.head.weight = self.token.weight
        self.reentrant = reentrant

    def forward(self, ids):
        x = self.token(ids) + self.place(torch.arange(ids.shape[1], device=ids.device))
        for block in self.blocks:
            x = block(x) if self.reentrant is None else checkpoint(block, x, use_reentrant=self.reentrant)
        logits = self.head(self.norm(x))
        return F.cross_entropy(logits.view(-1, logits.shape[-1]), ids.view(-1))


def train(model, loss, optimizer=torch.optim.AdamW, autocast=False, accumulate=1, **options):
    """A step of the ordinary kind. loss(model) -> a scalar."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    made = optimizer(parameters, lr=1e-3, **options)
    device = parameters[0].device.type

    def step(mark):
        for _ in range(accumulate):
            with torch.autocast(device, torch.bfloat16) if autocast else contextlib.nullcontext():
                value = loss(model)
            mark("forward")
            value.backward()
            mark("backward")
        del value
        made.step()
        mark("update")
        made.zero_grad()
        mark("end")

    return step


def ids(device, batch=2, tokens=16):
    return torch.randint(0, 60, (batch, tokens), device=device)


def cnn(device):
    net = nn.Sequential(nn.Conv2d(3, 16, 7, 2, 3), Residual(16), nn.MaxPool2d(2), Residual(16), nn.Flatten())
    net.append(nn.Linear(16 * 64, 10)).to(device)
    images = torch.randn(4, 3, 32, 32, device=device)
    return train(
        net,
        lambda m: F.cross_entropy(m(images), torch.zeros(4, dtype=torch.long, device=device)),
        torch.optim.SGD,
        momentum=0.9,
        foreach=True,
    )


def gpt(device, autocast=False, accumulate=1, **options):
    net = GPT(**options).to(device)
    given = ids(device)
    return train(net, lambda m: m(given), autocast=autocast, accumulate=accumulate, foreach=True)


def gan(device):
    maker = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 16)).to(device)
    judge = nn.Sequential(nn.Linear(16, 32), nn.LeakyReLU(0.2), nn.Linear(32, 1)).to(device)
    one, other = torch.optim.Adam(maker.parameters(), foreach=True), torch.optim.Adam(judge.parameters(), foreach=True)
    real = torch.randn(32, 16, device=device)

    def step(mark):
        made = maker(torch.randn(32, 8, device=device))
        loss = F.softplus(-judge(real)).mean() + F.softplus(judge(made.detach())).mean()
        mark("judge forward")
        other.zero_grad()
        loss.backward()
        other.step()
        mark("judge")
        loss = F.softplus(-judge(made)).mean()
        one.zero_grad()
        loss.backward()
        one.step()
        mark("maker")

    return step


def lstm(device):
    net, head = nn.LSTM(8, 16, 2, batch_first=True).to(device), nn.Linear(16, 4).to(device)
    both = nn.ModuleList([net, head])
    given = torch.randn(4, 12, 8, device=device)
    return train(both, lambda m: m[1](m[0](given)[0]).pow(2).mean(), foreach=True)


def bert(device):
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, vocab_size=64)
    net = BertForSequenceClassification(config).to(device).train()
    given, labels = ids(device), torch.zeros(2, dtype=torch.long, device=device)
    return train(
        net, lambda m: m(input_ids=given, attention_mask=torch.ones_like(given), labels=labels).loss, foreach=True
    )


def t5(device):
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(d_model=32, d_ff=64, d_kv=16, num_layers=2, num_heads=2, vocab_size=64, decoder_start_token_id=0)
    net = T5ForConditionalGeneration(config).to(device).train()
    given = ids(device)
    return train(net, lambda m: m(input_ids=given, labels=given).loss, foreach=True)


def vit(device):
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, image_size=32, patch_size=8
    )
    net = ViTForImageClassification(config).to(device).train()
    images = torch.randn(2, 3, 32, 32, device=device)
    labels = torch.zeros(2, dtype=torch.long, device=device)
    return train(net, lambda m: m(pixel_values=images, labels=labels).loss, foreach=True)


def llama_config():
    from transformers import LlamaConfig

    return LlamaConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        vocab_size=64,
        max_position_embeddings=64,
    )


def lora(device):
    import peft
    from transformers import LlamaForCausalLM

    config = peft.LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], lora_dropout=0.1)
    net = peft.get_peft_model(LlamaForCausalLM(llama_config()), config).to(device).train()
    net.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    net.enable_input_require_grads()
    given = ids(device)
    return train(net, lambda m: m(input_ids=given, labels=given, use_cache=False).loss, foreach=True)


def unet(device):
    from diffusers import UNet2DConditionModel

    net = UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        block_out_channels=(16, 32),
        layers_per_block=1,
        norm_num_groups=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=16,
        attention_head_dim=8,
    )
    net = net.to(device).train()
    noise, text = torch.randn(2, 4, 8, 8, device=device), torch.randn(2, 5, 16, device=device)
    return train(net, lambda m: m(noise, torch.tensor(3, device=device), text).sample.pow(2).mean(), foreach=True)


def moe(device):
    from transformers import MixtralConfig, MixtralForCausalLM

    config = MixtralConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        num_local_experts=4,
        num_experts_per_tok=2,
        vocab_size=64,
    )
    net = MixtralForCausalLM(config).to(device, torch.bfloat16).train()
    given = ids(device)
    return train(net, lambda m: m(input_ids=given, labels=given, use_cache=False).loss, foreach=True)


MODELS = {
    "cnn": cnn,
    "gpt": gpt,
    "gpt with dropout": lambda device: gpt(device, dropout=0.1),
    "autocast": lambda device: gpt(device, autocast=True),
    "accumulation": lambda device: gpt(device, accumulate=2),
    "checkpointed": lambda device: gpt(device, reentrant=False),
    "checkpointed, reentrant": lambda device: gpt(device, reentrant=True),
    "checkpointed, autocast": lambda device: gpt(device, autocast=True, reentrant=False),
    "gan": gan,
    "lstm": lstm,
    "bert": bert,
    "t5": t5,
    "vit": vit,
    "lora": lora,
    "unet": unet,
    "moe": moe,
}
