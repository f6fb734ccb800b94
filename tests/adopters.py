"""What adopters of the research code's extensions write around them, in our own words.

It sorts by rank, splits groups by repeating the tree, builds lists of edges in Python, and knows
nothing of treefilter: an ``extension`` is what their import gives them.
"""

import torch
from torch import nn
from torch.autograd import Function


def by_rank(values, index):
    return values.gather(2, index.long().unsqueeze(1).expand(-1, values.shape[1], -1))


def neighbours(height, width):
    number = torch.arange(height * width, dtype=torch.int32).view(height, width)
    pairs = [
        torch.stack([number[:-1], number[1:]], -1).reshape(-1, 2),
        torch.stack([number[:, :-1], number[:, 1:]], -1).reshape(-1, 2),
    ]
    return torch.cat(pairs)


def differences(image):
    down = (image[:, :, 1:] - image[:, :, :-1]).square().sum(1).flatten(1)
    right = (image[..., 1:] - image[..., :-1]).square().sum(1).flatten(1)
    return torch.cat([down, right], 1)


def tree_of(extension, image):
    with torch.no_grad():
        index = neighbours(*image.shape[2:]).unsqueeze(0).expand(len(image), -1, -1)
        return extension.mst_forward(index, differences(image) + 1, image[0, 0].numel())


def mean_filter(extension):
    class Refine(Function):
        @staticmethod
        def forward(ctx, x, w, index, parent, child, low):
            out = extension.refine_forward(x, w, index, parent, child)
            ctx.save_for_backward(x, w, index, parent, child, *out)
            ctx.low = low
            return out[0]

        @staticmethod
        def backward(ctx, grad):
            saved = (*ctx.saved_tensors, grad)
            grad_x = extension.refine_backward_feature(*saved)
            grad_w = None if ctx.low else extension.refine_backward_weight(*saved)
            return grad_x, grad_w, None, None, None, None

    return Refine.apply


class AdoptedFilter(nn.Module):
    """Of the first family: groups by repeated trees, σ on the low level only."""

    def __init__(self, extension, groups=1, sigma=0.02):
        super().__init__()
        self.extension, self.groups, self.sigma = extension, groups, sigma
        self.refine = mean_filter(extension)

    def forward(self, x, embed, tree, low=True):
        index, parent, child = self.extension.bfs_forward(tree, 4)
        own = by_rank(embed.flatten(2), index)
        above = by_rank(own, parent)
        split = [t.reshape(len(x) * self.groups, -1, t.shape[2]) for t in (own, above)]
        distance = (split[0] - split[1]).square().sum(1)
        weight = torch.exp(-distance / self.sigma) if low else torch.exp(-distance)
        ranks = [t.repeat_interleave(self.groups, 0) for t in (index, parent, child)]
        features = x.reshape(len(x) * self.groups, -1, index.shape[1])
        return self.refine(features, weight, *ranks, low).view(x.shape)


class Configuration:
    """The configuration object of the loss's code."""

    def get(self, *keys):
        return {("tree_loss", "params"): {"weight": 0.6}, ("tree_loss", "sigma"): 0.05}[keys]


class AdoptedConfidence(nn.Module):
    """Of the second family: random trees, guide and confidence in the weights, no mean."""

    def __init__(self, extension, groups):
        super().__init__()

        class Refine(Function):
            @staticmethod
            def forward(ctx, x, w, s, index, parent, child):
                out = extension.tree_filter_refine_forward(x, w, s, index, parent, child)
                ctx.save_for_backward(x, w, s, index, parent, child, *out[1:])
                return out[0]

            @staticmethod
            def backward(ctx, grad):
                saved = (*ctx.saved_tensors, grad)
                x = extension.tree_filter_refine_backward_feature(*saved)
                w = extension.tree_filter_refine_backward_edge_weight(*saved)
                return x, w, extension.tree_filter_refine_backward_self_weight(*saved), *[None] * 3

        self.extension, self.groups, self.refine = extension, groups, Refine.apply

    def trees(self, guide):
        index = neighbours(*guide.shape[2:]).unsqueeze(0).expand(len(guide), -1, -1)
        weight = torch.exp(-differences(guide))
        return self.extension.rst_forward(index, weight, guide[0, 0].numel())

    def forward(self, x, embed, guide, beta, tree):
        ranks = self.extension.bfs_forward(tree, 4)
        index, parent, _ = ranks
        distance = 0
        for features in (embed, guide):
            own = by_rank(features.flatten(2), index)
            change = (own - by_rank(own, parent)).square()
            distance = distance + change.reshape(len(x) * self.groups, -1, own.shape[2]).sum(1)
        own = torch.exp(-beta.reshape(len(x) * self.groups, -1, index.shape[1]).square().sum(1))
        ranks = [t.repeat_interleave(self.groups, 0) for t in ranks]
        weight = torch.exp(-distance) * own.gather(1, ranks[0].long())
        features = x.reshape(len(x) * self.groups, -1, index.shape[1])
        return self.refine(features, weight, own, *ranks).view(x.shape)


class AdoptedScan(nn.Module):
    """Of images: trees of the features themselves, weights per channel."""

    def __init__(self, extension):
        super().__init__()

        class Refine(Function):
            @staticmethod
            def forward(ctx, x, w, index, parent, child, one):
                out = extension.tree_scan_refine_forward(x, w, index, parent, child, one)
                ctx.save_for_backward(x, w, index, parent, child, *out)
                ctx.one = one
                return out[0]

            @staticmethod
            def backward(ctx, grad):
                saved = (*ctx.saved_tensors, grad, ctx.one)
                x = extension.tree_scan_refine_backward_feature(*saved)
                w = extension.tree_scan_refine_backward_edge_weight(*saved)
                return x, w, None, None, None, None

        self.extension, self.refine = extension, Refine.apply

    def forward(self, features, fresh, decay):
        cosine = nn.functional.normalize(features, dim=1)
        with torch.no_grad():
            index = neighbours(*features.shape[2:]).unsqueeze(0).expand(len(features), -1, -1)
            ends = cosine.flatten(2)
            first, second = (ends[:, :, index[0, :, i].long()] for i in (0, 1))
            weight = torch.exp(-(first * second).sum(1))
            tree = self.extension.mst_forward(index, weight, ends.shape[2])
        index, parent, child = self.extension.bfs_forward(tree, 4)
        one = torch.ones_like(index, dtype=decay.dtype)
        return self.refine(fresh, by_rank(decay, index), index, parent, child, one)


class Mixer(nn.Module):
    """The layers of a Mamba mixer that the scan of sequences uses."""

    def __init__(self, width=4, states=3, rank=2):
        super().__init__()
        self.time_step_rank, self.ssm_state_size = rank, states
        self.in_proj, self.out_proj = nn.Linear(5, 2 * width), nn.Linear(width, 5)
        self.conv1d = nn.Conv1d(width, width, 3, groups=width, padding=2)
        self.x_proj, self.dt_proj = nn.Linear(width, rank + 2 * states), nn.Linear(rank, width)
        self.act = nn.functional.silu
        self.A_log = nn.Parameter(torch.rand(width, states))
        self.D = nn.Parameter(torch.rand(width))


def projected(mixer, states):
    """The features, what is fresh and its decay (B, D, L, n), and what reads the states."""
    length = states.shape[1]
    x, gate = mixer.in_proj(states).mT.chunk(2, 1)
    x = mixer.act(mixer.conv1d(x)[..., :length])
    sizes = [mixer.time_step_rank, mixer.ssm_state_size, mixer.ssm_state_size]
    step, into, out_of = mixer.x_proj(x.mT).split(sizes, -1)
    step = nn.functional.softplus(mixer.dt_proj(step)).mT
    decay = torch.exp(-torch.exp(mixer.A_log.float()).unsqueeze(1) * step.unsqueeze(3))
    fresh = step.unsqueeze(3) * into.unsqueeze(1) * x.unsqueeze(3)

    def read(h):
        y = (h * out_of.unsqueeze(1)).sum(3) + x * mixer.D.view(1, -1, 1)
        return mixer.out_proj((y * mixer.act(gate)).mT)

    return fresh, decay, read


def pairs_of_tokens(length, context):
    pairs = [(i, i + 1) for i in range(length - context)]
    pairs += [(i, i + k) for i in range(length - context, length - 3) for k in (1, 2, 3)]
    return [*pairs, (length - 3, length - 2), (length - 3, length - 1), (length - 2, length - 1)]


def adopted_sequence(extension, mixer, states, context):
    """Of sequences: a chain of all tokens and a tree of the last ones, from the last token on."""

    class Refine(Function):
        @staticmethod
        def forward(ctx, x, w, index, parent, child):
            out = extension.tree_scan_refine_forward(x, w, index, parent, child)
            ctx.save_for_backward(out, w, index, parent, child)
            return out

        @staticmethod
        def backward(ctx, grad):
            grads = extension.tree_scan_refine_backward_feature(*ctx.saved_tensors, grad)
            return *grads, None, None, None

    fresh, decay, read = projected(mixer, states)
    flat, weight = (t.transpose(2, 3).flatten(1, 2).flip(2) for t in (fresh, decay))
    weight, length, total = weight.roll(1, 2), flat.shape[2], 0
    chain = [(i, i + 1) for i in range(length - 1)]
    for pairs, share in ((chain, 1), (pairs_of_tokens(length, context), 0.3)):
        ends = torch.tensor(pairs, dtype=torch.int32)
        first, second = (flat.detach()[:, :, ends[:, k].long()] for k in (0, 1))
        cost = torch.exp(-torch.cosine_similarity(first, second, dim=1))
        tree = extension.mst_forward(ends.unsqueeze(0).repeat(len(flat), 1, 1), cost, length)
        index, parent, child, _ = extension.bfs_forward(tree, context)
        total = total + share * Refine.apply(flat, by_rank(weight, index), index, parent, child)
    return read(total.flip(2).unflatten(1, (-1, mixer.ssm_state_size)).transpose(2, 3))


def adopted_propagation(extension, soft, embed, guide, zeta):
    """Of pseudo labels: trees of the image, weights of an embedding."""
    index = neighbours(*guide.shape[2:]).unsqueeze(0).expand(len(guide), -1, -1)
    tree = extension.mst_forward(index, differences(guide) + 1, guide[0, 0].numel())
    flat = embed.flatten(2)
    ends = [t.long().unsqueeze(1).expand(-1, flat.shape[1], -1) for t in tree.unbind(2)]
    weight = (flat.gather(2, ends[0]) - flat.gather(2, ends[1])).square().sum(1)
    return extension.gp_forward(tree, weight, soft.flatten(1), zeta).view(soft.shape)


def sequential(mixer, states, context):
    """The scan token by token: the chain's recurrence, and the same along a tree."""
    fresh, decay, read = projected(mixer, states)
    length = states.shape[1]
    flat = fresh.transpose(2, 3).flatten(1, 2).flip(2).detach()  # vertex v is token L − 1 − v
    pairs = pairs_of_tokens(length, context)
    out = []
    for b in range(len(states)):
        cosine = [torch.cosine_similarity(flat[b, :, i], flat[b, :, j], dim=0) for i, j in pairs]
        label, near = list(range(length)), [[] for _ in range(length)]
        for e in sorted(range(len(pairs)), key=lambda e: (float(torch.exp(-cosine[e])), e)):
            u, v = pairs[e]
            if label[u] != label[v]:
                label = [label[u] if k == label[v] else k for k in label]
                near[u].append(v)
                near[v].append(u)

        def below(vertex, parent, children, b=b):
            total = fresh[b, :, length - 1 - vertex]
            for child in children(vertex):
                if child != parent:  # the weight of vertex v is that of the token after v's
                    part = below(child, vertex, children)
                    total = total + decay[b, :, (length - child) % length] * part
            return total

        def all_below(children, b=b):
            parent = {0: None}
            stack = [0]
            while stack:
                v = stack.pop()
                for u in children(v):
                    if u not in parent:
                        parent[u] = v
                        stack.append(u)
            return torch.stack(
                [below(length - 1 - t, parent[length - 1 - t], children) for t in range(length)], 1
            )

        chain = all_below(lambda v: [u for u in (v - 1, v + 1) if 0 <= u < length])
        out.append(chain + 0.3 * all_below(lambda v, near=near: near[v]))
    return read(torch.stack(out))  # (B, D, L, n)
