/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file models.hpp
 * Images, networks and training for C++17; see pumit.hpp.
 */
#ifndef PUMIT_MODELS_HPP
#define PUMIT_MODELS_HPP

#include <pumit/core.hpp>

namespace pumit
{

/** An image of whole patches with the spacing to pass on. */
struct patches {
    tensor image; /* (1, D, H, W, channels) */
    pumit::spacing spacing;
};

/** Voxels with geometry. */
class volume : public detail::handle<pumit_volume, pumit_volume_release>
{
  public:
    using affine_matrix = std::array<double, 16>;

    explicit volume(pumit_volume *taken) : handle(taken) {}
    /** A copy of packed voxels (size[0], size[1], size[2], channels); without an affine a 2D image. */
    template <typename T>
    volume(context &owner, const size3 &size, int64_t channels, const std::vector<T> &voxels,
           const std::optional<affine_matrix> &affine = std::nullopt)
    {
        const int64_t wanted = size[0] * size[1] * size[2] * channels;
        if (wanted != static_cast<int64_t>(voxels.size()))
            throw std::invalid_argument("voxels do not fill the size");
        make(pumit_volume_create, owner.get(), detail::dtype_of<T>(), size.data(), channels,
             static_cast<const void *>(voxels.data()), affine ? affine->data() : nullptr);
    }
    static volume read(context &owner, const std::string &path, int64_t index = 0)
    {
        pumit_volume *out = nullptr;
        check(pumit_volume_read(&out, owner.get(), path.c_str(), index));
        return volume(out);
    }
    static int64_t file_count(context &owner, const std::string &path)
    {
        int64_t out = 0;
        check(pumit_volume_file_count(&out, owner.get(), path.c_str()));
        return out;
    }

    /** D, H, W, C. */
    std::array<int64_t, 4> shape() const
    {
        std::array<int64_t, 4> out{};
        pumit_volume_shape(get(), out.data());
        return out;
    }
    pumit::spacing spacing() const
    {
        pumit::spacing out{};
        pumit_volume_spacing(get(), out.data());
        return out;
    }
    int32_t anisotropy() const
    {
        return pumit_volume_anisotropy(get());
    }
    affine_matrix affine() const
    {
        affine_matrix out{};
        pumit_volume_affine(get(), out.data());
        return out;
    }
    std::array<int32_t, 3> source_axes() const
    {
        std::array<int32_t, 3> out{};
        pumit_volume_source_axes(get(), out.data());
        return out;
    }
    std::string modality() const
    {
        return pumit_volume_modality(get());
    }
    /** (D, H, W, C), borrowed. */
    const float *voxels() const
    {
        return pumit_volume_voxels(get());
    }
    tensor to_tensor(context &owner, int64_t channels) const
    {
        pumit_tensor *out = nullptr;
        check(pumit_volume_to_tensor(&out, get(), owner.get(), channels));
        return tensor(out);
    }
    patches to_patches(context &owner, int64_t channels, const size3 &patch,
                       int64_t max_tokens = 0) const
    {
        pumit_tensor *out = nullptr;
        pumit::spacing after{};
        check(pumit_volume_to_patches(&out, after.data(), get(), owner.get(), channels,
                                      patch.data(), max_tokens));
        return patches{tensor(out), after};
    }
};

inline int32_t degree_of_anisotropy(const spacing &steps)
{
    int32_t out = 0;
    check(pumit_degree_of_anisotropy(&out, steps.data()));
    return out;
}

inline void write_png_sheet(const std::string &path, const tensor &images, int32_t columns = 0)
{
    check(pumit_write_png_sheet(path.c_str(), images.get(), columns));
}

/** A list of images, with labels where there are any. */
class dataset : public detail::handle<pumit_dataset, pumit_dataset_release>
{
  public:
    dataset(context &owner, const std::vector<std::string> &paths, const config &options = config())
    {
        std::vector<const char *> names;
        names.reserve(paths.size());
        for (const std::string &path : paths) names.push_back(path.c_str());
        make(pumit_dataset_open, owner.get(), static_cast<int32_t>(names.size()), names.data(),
             options.get());
    }
    int64_t count() const
    {
        return pumit_dataset_count(get());
    }
    int64_t skipped() const
    {
        return pumit_dataset_skipped(get());
    }
    int64_t classes() const
    {
        return pumit_dataset_classes(get());
    }
    /** Borrowed; NULL if out of range. */
    const pumit_volume *volume_at(int64_t i) const
    {
        return pumit_dataset_volume(get(), i);
    }
    std::string name(int64_t i) const
    {
        const char *name = pumit_dataset_name(get(), i);
        return name ? name : "";
    }
    int64_t label(int64_t i) const
    {
        return pumit_dataset_label(get(), i);
    }
};

/** A network's parameters and configuration: a view, valid as long as the network. */
class module
{
  public:
    explicit module(pumit_module *borrowed) : pointer_(borrowed) {}
    pumit_module *get() const noexcept
    {
        return pointer_;
    }
    std::string kind() const
    {
        return pumit_module_kind(pointer_);
    }
    config configuration() const
    {
        pumit_config *out = nullptr;
        check(pumit_module_config(&out, pointer_));
        return config(out);
    }
    int64_t parameter_count() const
    {
        return pumit_module_parameter_count(pointer_);
    }
    int64_t element_count() const
    {
        return pumit_module_element_count(pointer_);
    }
    /** Published names, in order. */
    std::vector<std::string> parameter_names() const
    {
        std::vector<std::string> out;
        for (int64_t i = 0; i < parameter_count(); i++)
            out.emplace_back(pumit_module_parameter_name(pointer_, i));
        return out;
    }
    tensor parameter(int64_t i) const
    {
        pumit_tensor *out = pumit_module_parameter(pointer_, i);
        if (!out) throw std::out_of_range("no such parameter");
        return tensor(pumit_tensor_retain(out));
    }
    tensor parameter(const std::string &name) const
    {
        pumit_tensor *out = nullptr;
        check(pumit_module_find(&out, pointer_, name.c_str()));
        return tensor(pumit_tensor_retain(out));
    }
    void zero_grad() const
    {
        pumit_module_zero_grad(pointer_);
    }
    void save(const std::string &path, const config &provenance = config()) const
    {
        check(pumit_module_save(pointer_, path.c_str(), provenance.get()));
    }
    /** Gives the number of tensors taken. */
    int64_t load_weights(const std::string &path, const std::string &prefix = "",
                         bool strict = true) const
    {
        int64_t out = 0;
        check(pumit_module_load_weights(pointer_, path.c_str(), prefix.c_str(), strict, &out));
        return out;
    }

  private:
    pumit_module *pointer_;
};

inline config model_file_info(const std::string &path)
{
    pumit_config *out = nullptr;
    check(pumit_model_file_info(&out, path.c_str()));
    return config(out);
}

namespace detail
{

/** What all networks have: module(), and calls that give one tensor. */
template <typename T, void (*release)(T *), pumit_module *(*view)(T *)>
class network : public handle<T, release>
{
  public:
    pumit::module module() const
    {
        return pumit::module(view(this->get()));
    }

  protected:
    using handle<T, release>::handle;
    template <typename Call, typename... Arguments>
    tensor result(Call call, Arguments... arguments) const
    {
        pumit_tensor *out = nullptr;
        check(call(&out, this->get(), arguments...));
        return tensor(out);
    }
};

inline size3 three(const int64_t *sizes)
{
    return size3{sizes[0], sizes[1], sizes[2]};
}

} // namespace detail

/** The spatially adaptive convolution. */
class sac_conv
    : public detail::network<pumit_sac_conv, pumit_sac_conv_release, pumit_sac_conv_module>
{
  public:
    struct result_at {
        tensor out;
        pumit::spacing spacing;
        int32_t down;
    };

    sac_conv(context &owner, const config &options)
    {
        make(pumit_sac_conv_create, owner.get(), options.get());
    }
    result_at forward(const tensor &src, const spacing &image_spacing, int32_t down = 0) const
    {
        pumit_tensor *out = nullptr;
        spacing after{};
        int32_t halvings = 0;
        check(pumit_sac_conv_forward(&out, after.data(), &halvings, get(), src.get(),
                                     image_spacing.data(), down));
        return result_at{tensor(out), after, halvings};
    }
    /** Gives the result and its halvings. */
    std::pair<tensor, int32_t> forward_da(const tensor &src, int32_t da, int32_t down = 0) const
    {
        pumit_tensor *out = nullptr;
        int32_t halvings = 0;
        check(pumit_sac_conv_forward_da(&out, &halvings, get(), src.get(), da, down));
        return {tensor(out), halvings};
    }
};

/** Images to soft tokens and back. */
class tokenizer
    : public detail::network<pumit_tokenizer, pumit_tokenizer_release, pumit_tokenizer_module>
{
  public:
    /** Indexed by PUMIT_TERM_*. */
    using loss_terms = std::array<double, PUMIT_TERM_COUNT>;

    explicit tokenizer(context &owner, const config &options = config())
    {
        make(pumit_tokenizer_create, owner.get(), options.get());
    }
    static tokenizer load(context &owner, const std::string &path)
    {
        pumit_tokenizer *out = nullptr;
        check(pumit_tokenizer_load(&out, owner.get(), path.c_str()));
        return tokenizer(out);
    }
    int64_t codes() const
    {
        return pumit_tokenizer_codes(get());
    }
    int64_t channels() const
    {
        return pumit_tokenizer_channels(get());
    }
    size3 patch() const
    {
        return detail::three(pumit_tokenizer_patch(get()));
    }
    tensor encode(const tensor &image, const spacing &steps) const
    {
        return result(pumit_tokenizer_encode, image.get(), steps.data());
    }
    tensor decode(const tensor &tokens, const spacing &steps) const
    {
        return result(pumit_tokenizer_decode, tokens.get(), steps.data());
    }
    tensor reconstruct(const tensor &image, const spacing &steps) const
    {
        return result(pumit_tokenizer_reconstruct, image.get(), steps.data());
    }
    std::pair<tensor, loss_terms> loss(const tensor &image, const spacing &steps,
                                       double quant_weight, double entropy_weight) const
    {
        pumit_tensor *out = nullptr;
        loss_terms terms{};
        check(pumit_tokenizer_loss(&out, terms.data(), get(), image.get(), steps.data(),
                                   quant_weight, entropy_weight));
        return {tensor(out), terms};
    }

  private:
    explicit tokenizer(pumit_tokenizer *taken) : network(taken) {}
};

/** The vision transformer. */
class vit : public detail::network<pumit_vit, pumit_vit_release, pumit_vit_module>
{
  public:
    explicit vit(context &owner, const config &options = config())
    {
        make(pumit_vit_create, owner.get(), options.get());
    }
    static vit load(context &owner, const std::string &path)
    {
        pumit_vit *out = nullptr;
        check(pumit_vit_load(&out, owner.get(), path.c_str()));
        return vit(out);
    }
    int64_t dim() const
    {
        return pumit_vit_dim(get());
    }
    int64_t channels() const
    {
        return pumit_vit_channels(get());
    }
    size3 patch() const
    {
        return detail::three(pumit_vit_patch(get()));
    }
    size3 grid(const size3 &size, const spacing &steps) const
    {
        size3 out{};
        check(pumit_vit_grid(out.data(), get(), size.data(), steps.data()));
        return out;
    }
    tensor forward(const tensor &image, const spacing &steps) const
    {
        return result(pumit_vit_forward, image.get(), steps.data());
    }
    tensor embed(const volume &scan) const
    {
        return result(pumit_vit_embed, scan.get());
    }
    tensor mim_loss(const tokenizer &teacher, const tensor &image, const spacing &steps,
                    const tensor &visible) const
    {
        return result(pumit_vit_mim_loss, teacher.get(), image.get(), steps.data(), visible.get());
    }
    tensor predict(const tensor &image, const spacing &steps, const tensor &visible) const
    {
        return result(pumit_vit_predict, image.get(), steps.data(), visible.get());
    }

  private:
    explicit vit(pumit_vit *taken) : network(taken) {}
};

inline tensor random_visible(context &owner, int64_t n, int64_t length, double mask_ratio,
                             uint64_t seed)
{
    pumit_tensor *out = nullptr;
    check(pumit_vit_random_visible(&out, owner.get(), n, length, mask_ratio, seed));
    return tensor(out);
}

/** A transformer with a classification head. */
class classifier
    : public detail::network<pumit_classifier, pumit_classifier_release, pumit_classifier_module>
{
  public:
    classifier(const vit &backbone, const config &options)
    {
        make(pumit_classifier_create, backbone.get(), options.get());
    }
    static classifier load(context &owner, const std::string &path)
    {
        pumit_classifier *out = nullptr;
        check(pumit_classifier_load(&out, owner.get(), path.c_str()));
        return classifier(out);
    }
    /** Borrowed. */
    pumit_vit *backbone() const
    {
        return pumit_classifier_vit(get());
    }
    int64_t classes() const
    {
        return pumit_classifier_classes(get());
    }
    tensor forward(const tensor &image, const spacing &steps) const
    {
        return result(pumit_classifier_forward, image.get(), steps.data());
    }
    tensor loss(const tensor &image, const spacing &steps, const std::vector<int64_t> &labels) const
    {
        if (static_cast<int64_t>(labels.size()) != image.shape().at(0))
            throw std::invalid_argument("as many labels as images are needed");
        return result(pumit_classifier_loss, image.get(), steps.data(), labels.data());
    }
    tensor predict(const volume &scan) const
    {
        return result(pumit_classifier_predict, scan.get());
    }

  private:
    explicit classifier(pumit_classifier *taken) : network(taken) {}
};

} // namespace pumit

#endif
