"""The Diagonal BiLSTM layer in plain PyTorch, as its users would write it: skew, a loop over the columns, unskew.

The layer is that of `zoo.spatial_lstms.DiagonalBiLSTM`, u + out(h): both directions in one batched product a column,
the input's product outside of the loop, autograd for the gradient.
"""

import torch
from torch import nn


class TorchDiagonalBiLSTM(nn.Module):
    """From the weights of the zoo's `layer`: u [batch, height, width, 2h] -> the same."""

    def __init__(self, layer):
        super().__init__()
        self.hidden = layer.hidden
        for name, variable in {
            "input_kernel": layer.input_to_state.kernel_of_row,
            "input_bias": layer.input_to_state.bias,
            "state_kernel": layer.state_to_state,
            "h_outside": layer.h_outside,
            "c_outside": layer.c_outside,
            "out_kernel": layer.out.kernel_of_row,
            "out_bias": layer.out.bias,
        }.items():
            self.register_parameter(name, nn.Parameter(torch.from_numpy(variable.numpy().copy())))

    def forward(self, u):
        batch, height, width, _ = u.shape
        inputs = u @ self.input_kernel[0] + self.input_bias
        from_left, from_right = inputs.split(4 * self.hidden, dim=-1)
        skewed = skew(torch.stack([from_left, from_right.flip(2)]))  # [2, batch, height, columns, 4h]
        h0 = self.h_outside[:, None, None].expand(2, batch, height, self.hidden)
        c0 = self.c_outside[:, None, None].expand(2, batch, height, self.hidden)
        first, kernel = h0[:, :, :1], self.state_kernel
        rows = torch.arange(height)[:, None]
        h, c, columns = h0, c0, []
        for column in range(skewed.shape[3]):
            seen = torch.cat([torch.cat([first, h[:, :, :-1]], dim=2), h], dim=-1)
            gates = skewed[:, :, :, column] + torch.bmm(seen.flatten(1, 2), kernel).view(2, batch, height, -1)
            i, f, o = torch.sigmoid(gates[..., : 3 * self.hidden]).chunk(3, dim=-1)
            c = f * c + i * torch.tanh(gates[..., 3 * self.hidden :])
            h = o * torch.tanh(c)
            inside = (column >= rows) & (column < rows + width)
            h, c = torch.where(inside, h, h0), torch.where(inside, c, c0)
            columns.append(h)
        from_left, from_right = unskew(torch.stack(columns, dim=3), width)
        from_right = torch.cat([first[1][:, :, None].expand(-1, -1, width, -1), from_right.flip(2)[:, :-1]], dim=1)
        return u + (from_left + from_right) @ self.out_kernel[0] + self.out_bias


def skew(u):
    """[..., height, width, n] -> [..., height, width + height - 1, n]: row i moves i pixels to the right."""
    *leading, height, width, size = u.shape
    u = nn.functional.pad(u, (0, 0, 0, height)).reshape(*leading, height * (width + height), size)
    return u[..., :-height, :].reshape(*leading, height, width + height - 1, size)


def unskew(u, width):
    *leading, height, columns, size = u.shape
    u = nn.functional.pad(u.reshape(*leading, height * columns, size), (0, 0, 0, height))
    return u.reshape(*leading, height, columns + 1, size)[..., :width, :]
