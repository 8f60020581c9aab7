/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a scan to its embedding and tokens: embed SCAN [VIT.safetensors [TOKENIZER.safetensors]].
 * Without weights the networks are small and random: good to see shapes, not anatomy.
 */
#include <pumit.hpp>

#include <cmath>
#include <cstdio>

static void print_shape(const char *what, const std::vector<int64_t> &shape)
{
    std::printf("%-10s (", what);
    for (std::size_t i = 0; i < shape.size(); i++)
        std::printf("%s%lld", i ? ", " : "", static_cast<long long>(shape[i]));
    std::printf(")\n");
}

static pumit::vit open_vit(pumit::context &context, int argc, char **argv)
{
    if (argc > 2) return pumit::vit::load(context, argv[2]);
    return pumit::vit(context, {{"dim", 48},
                                {"depth", 2},
                                {"heads", 2},
                                {"hidden", 96},
                                {"patch", pumit::config::json("[8, 8, 8]")}});
}

static pumit::tokenizer open_tokenizer(pumit::context &context, int argc, char **argv)
{
    if (argc > 3) return pumit::tokenizer::load(context, argv[3]);
    return pumit::tokenizer(
        context, {{"channels", pumit::config::json("[16, 32]")}, {"codes", 64}, {"code_dim", 16}});
}

int main(int argc, char **argv)
{
    if (argc < 2 || argc > 4) {
        std::fprintf(stderr, "usage: %s SCAN [VIT.safetensors [TOKENIZER.safetensors]]\n", argv[0]);
        return 2;
    }
    try {
        pumit::context context;
        const pumit::vit vit = open_vit(context, argc, argv);
        const pumit::tokenizer tokenizer = open_tokenizer(context, argc, argv);
        const pumit::volume scan = pumit::volume::read(context, argv[1]);

        const pumit::tensor embedding = vit.embed(scan);
        double squares = 0;
        for (const float value : embedding.read()) squares += static_cast<double>(value) * value;
        print_shape("embedding", embedding.shape());
        std::printf("%-10s %.3f\n", "norm", std::sqrt(squares));

        const auto [image, spacing] =
            scan.to_patches(context, tokenizer.channels(), tokenizer.patch(), 256);
        print_shape("tokens", tokenizer.encode(image, spacing).shape());
    } catch (const std::exception &failure) {
        std::fprintf(stderr, "%s\n", failure.what());
        return 1;
    }
    return 0;
}
