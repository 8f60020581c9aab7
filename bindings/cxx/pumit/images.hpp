/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file images.hpp
 * Volumes and datasets for C++17; see pumit.hpp.
 */
#ifndef PUMIT_IMAGES_HPP
#define PUMIT_IMAGES_HPP

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
        const float *out = pumit_volume_voxels(get());
        if (!out) throw error(PUMIT_ERROR_IO);
        return out;
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

/** A class number for each voxel of an image. */
class label_map : public detail::handle<pumit_label_map, pumit_label_map_release>
{
  public:
    explicit label_map(pumit_label_map *taken) : handle(taken) {}
    /** A copy of class numbers (D, H, W) of the volume's sizes. */
    label_map(context &owner, const volume &grid, const std::vector<uint8_t> &labels)
    {
        const auto shape = grid.shape();
        if (shape[0] * shape[1] * shape[2] != static_cast<int64_t>(labels.size()))
            throw std::invalid_argument("labels do not fill the volume");
        make(pumit_label_map_create, owner.get(), grid.get(), labels.data());
    }
    static label_map read(context &owner, const std::string &path, const volume *grid = nullptr)
    {
        pumit_label_map *out = nullptr;
        check(pumit_label_map_read(&out, owner.get(), path.c_str(), grid ? grid->get() : nullptr));
        return label_map(out);
    }
    /** .nii.gz or .nii, on the grid of the file that the image is from, or .png. Option: "class_names". */
    void write(const std::string &path, const config &options = config()) const
    {
        check(pumit_label_map_write(get(), path.c_str(), options.get()));
    }
    /** D, H, W. */
    size3 shape() const
    {
        size3 out{};
        pumit_label_map_shape(get(), out.data());
        return out;
    }
    pumit::spacing spacing() const
    {
        pumit::spacing out{};
        pumit_label_map_spacing(get(), out.data());
        return out;
    }
    /** (D, H, W), borrowed. */
    const uint8_t *labels() const
    {
        return pumit_label_map_labels(get());
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
    /** The files that would be read, undecoded: JSON, a list of {"path"}, with "label_map" or "reason". */
    static std::string files(const std::vector<std::string> &paths,
                             const config &options = config())
    {
        std::vector<const char *> names;
        names.reserve(paths.size());
        for (const std::string &path : paths) names.push_back(path.c_str());
        char *out = nullptr;
        check(pumit_dataset_files(&out, static_cast<int32_t>(names.size()), names.data(),
                                  options.get()));
        return detail::take(out);
    }
    /** Part of the images: "folds", "fold", "held_out", "labels" (a share), "seed". */
    dataset subset(const config &options) const
    {
        dataset part;
        part.make(pumit_dataset_subset, get(), options.get());
        return part;
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
    /** Borrowed; NULL if the image has none. */
    const pumit_label_map *label_map_at(int64_t i) const
    {
        return pumit_dataset_label_map(get(), i);
    }
    bool multilabel() const
    {
        return pumit_dataset_multilabel(get()) != 0;
    }
    /** False also where that is not told. */
    bool has_label(int64_t i, int64_t label) const
    {
        return pumit_dataset_has_label(get(), i, label) == 1;
    }
    /** Empty if it is not known. */
    std::string class_name(int64_t label) const
    {
        const char *name = pumit_dataset_class_name(get(), label);
        return name ? name : "";
    }

  private:
    dataset() = default;
};

/** Called as sources are done; true stops the work. */
using prepare_progress = std::function<bool(int64_t done, int64_t total, const char *path)>;

/**
 * Prepares images into the folder "output" of the options and gives the report, JSON. What `report` throws stops the work after the
 * images at hand.
 */
inline std::string prepare(context &owner, const std::vector<std::string> &paths,
                           const config &options, const prepare_progress &report = nullptr)
{
    struct call_state {
        const prepare_progress *report;
        std::exception_ptr thrown;
    } state{&report, nullptr};
    const auto forward = [](void *user, int64_t done, int64_t total, const char *path) -> int32_t {
        call_state &kept = *static_cast<call_state *>(user);
        try {
            return (*kept.report)(done, total, path);
        } catch (...) {
            kept.thrown = std::current_exception();
            return 1;
        }
    };
    std::vector<const char *> names;
    names.reserve(paths.size());
    for (const std::string &path : paths) names.push_back(path.c_str());
    char *out = nullptr;
    const pumit_status status =
        pumit_prepare(&out, owner.get(), static_cast<int32_t>(names.size()), names.data(),
                      options.get(), report ? +forward : nullptr, &state);
    if (state.thrown) std::rethrow_exception(state.thrown);
    check(status);
    return detail::take(out);
}

} // namespace pumit

#endif
